"""GT06 trackers: Concox, Jimi, Wanway, LK card pendants and their clones."""
