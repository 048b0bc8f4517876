"""Xexun XT-series cards and pendants."""
