"""PT60 health bands."""
