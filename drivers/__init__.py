"""Devices: what the bytes mean. A driver sees `protocols` and `drivers.api`, never another driver."""
