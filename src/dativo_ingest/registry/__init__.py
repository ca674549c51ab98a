"""Connectors by name: entry points and files."""
