"""Bluetooth Low Energy advertisements and values."""
