"""Built-in readers; they import only the SDK."""
