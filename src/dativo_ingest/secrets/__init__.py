"""References to secrets become values here, at the last moment."""
