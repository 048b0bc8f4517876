"""Topin pendants: ZX303, ZX612, D-series."""
