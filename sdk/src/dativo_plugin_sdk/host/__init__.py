"""A plugin's own process: what it says to the engine, and how it serves what it is asked."""
