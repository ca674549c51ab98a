"""What databases have in common as sources and targets, whichever they are."""
