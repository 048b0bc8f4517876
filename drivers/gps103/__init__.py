"""GPS103 trackers (Coban, TK102, TK103 clones)."""
