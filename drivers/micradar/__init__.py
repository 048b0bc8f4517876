"""MicRadar mmWave radars: fall, presence, bed, breathing and heart rate without contact."""
