"""BTHome sensors, contacts and buttons (BLE advertisements)."""
