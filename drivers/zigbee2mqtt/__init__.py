"""Every Zigbee device behind a zigbee2mqtt bridge, understood by what it exposes."""
