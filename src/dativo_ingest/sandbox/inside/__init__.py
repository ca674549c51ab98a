"""What runs first within a sandbox: it restricts itself, makes sure of it, and becomes the plugin's host.

`python -I -S /run/dativo/inside PLAN`, with the standard library alone and nothing of the engine around it.
"""
