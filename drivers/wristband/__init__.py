"""YX wristbands against wandering."""
