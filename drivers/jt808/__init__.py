"""JT/T 808 personal terminals: ID-card trackers, 4G badges, elder and student cards."""
