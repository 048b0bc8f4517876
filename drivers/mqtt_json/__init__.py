"""Any device that publishes JSON or bytes over MQTT: described by a mapping file, or speaking our own profile."""
