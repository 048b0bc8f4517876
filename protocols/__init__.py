"""Wire formats, sans-IO: bytes to messages and back, no sockets, clocks, logs or randomness."""
