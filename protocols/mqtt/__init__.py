"""Payloads of MQTT device ecosystems."""
