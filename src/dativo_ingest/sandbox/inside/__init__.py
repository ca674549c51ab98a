"""What runs within a sandbox before the plugin does: it restricts itself, makes sure of it, and becomes its host.

`python -I -S /run/dativo/inside PLAN`; each module is written with the standard library alone.
"""
