"""The gateway: transports, sessions, pipeline, rules, store, uplinks."""

__version__ = "0.1.0"
