"""Wires towards platforms."""
