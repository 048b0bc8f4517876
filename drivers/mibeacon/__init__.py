"""Xiaomi sensors, buttons, locks and scales (BLE advertisements)."""
