"""Queclink GL lone-worker trackers and GV vehicle units (@Track)."""
