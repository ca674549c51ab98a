"""The process of a plugin, ``python -m dativo_plugin_sdk.host``: the engine starts it and asks, it answers."""
