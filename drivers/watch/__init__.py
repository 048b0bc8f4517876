"""Elder watches and pendants that speak the "3G" / SeTracker protocol."""
