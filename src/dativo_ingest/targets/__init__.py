"""Built-in writers; they import only the SDK."""
