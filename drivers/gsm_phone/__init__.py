"""One-key phones, SMS alarm boxes and the phone menu, through a GSM or LTE modem on a serial port."""
