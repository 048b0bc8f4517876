"""Devices that announce themselves: Home Assistant discovery (ESPHome and many others), Tasmota, OpenMQTTGateway."""
