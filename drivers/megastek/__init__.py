"""Megastek lone-worker trackers and elder bracelets."""
