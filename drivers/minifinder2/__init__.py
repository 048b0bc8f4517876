"""Eview care pendants: EV-07B, EV-04, MiniFinder Nano."""
