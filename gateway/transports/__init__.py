"""Wires towards devices: they own sockets, stamp the receive time and hand frames over."""
