"""Bluetooth sensors that a parser library of the Home Assistant family understands."""
