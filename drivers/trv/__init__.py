"""Health watches of the TRV / IW protocol (ThinkRace)."""
