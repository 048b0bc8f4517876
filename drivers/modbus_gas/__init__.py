"""Gas detectors on RS-485: Modbus RTU, each product described by a profile."""
