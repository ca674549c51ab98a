"""Pure functions on batches."""
