"""A complete example driver: copy it with `anhu driver new NAME`."""
