"""Plugins in processes of their own, as the engine sees them."""
