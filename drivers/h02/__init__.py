"""H02 trackers: Sinotrack, LK, Reachfar and "HQ" watches."""
