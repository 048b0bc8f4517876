"""Hi-Link LD2450 radar: up to three people in the plane, for zones such as a bathroom corner."""
