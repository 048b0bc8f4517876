"""A television with Kodi: SOS key up; texts, sound and volume down."""
