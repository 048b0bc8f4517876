"""Badges and beacons: who is in which room, service visits, SOS badges."""
