"""The MQTT link: one small interface, so that the client behind it can be exchanged where a bench shows that it matters."""
