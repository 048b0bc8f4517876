"""Measures of Anhu: each prints one JSON object, ratios come from one run. `python -m bench [NAME ...]`."""
