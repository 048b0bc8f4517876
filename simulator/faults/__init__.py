"""What goes wrong on a wire, one kind per file."""
