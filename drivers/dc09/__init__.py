"""SIA DC-09 receiver: alarm panels (SIA-DCS, Contact ID) over TCP or UDP."""
