"""Winsen gas sensors: carbon monoxide, methane, formaldehyde, carbon dioxide."""
