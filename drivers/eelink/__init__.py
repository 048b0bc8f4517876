"""Eelink badges and trackers over TCP and UDP."""
