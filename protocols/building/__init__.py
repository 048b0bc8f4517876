"""Fire transmission and alarm hubs."""
