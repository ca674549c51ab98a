"""What a plugin may do, and the processes that it does it in."""
