"""The embedded MQTT broker as a supervised child."""
