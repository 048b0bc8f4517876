"""Bands that send raw acceleration: the gateway itself judges whether somebody fell."""
