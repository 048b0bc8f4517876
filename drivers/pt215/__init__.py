"""PT215 trackers, cousins of Topin."""
