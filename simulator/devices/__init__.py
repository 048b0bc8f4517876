"""Virtual devices: state to frames, through the encoders of `protocols`."""
