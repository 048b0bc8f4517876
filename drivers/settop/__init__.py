"""Television set-top box that speaks our MQTT profile (docs/settop.md)."""
