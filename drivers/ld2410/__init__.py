"""Hi-Link LD2410 presence radar: somebody moving or still, by distance gates."""
