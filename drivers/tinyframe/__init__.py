"""TinyFrame mmWave radars of Seeed and Hi-Link: fall, presence, zones, breath and heart rate."""
