"""Older Eview care pendants: EV-07P, EV-07S, EV-07W, MiniFinder Pico."""
