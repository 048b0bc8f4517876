"""Northbound formats."""
