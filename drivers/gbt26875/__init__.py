"""GB/T 26875.3 receiver: fire alarm transmission units, and gateways of smoke, gas and electrical detectors."""
