"""Wristbands, one-key phones and pendants."""
