"""A peer that broke the protocol."""

from __future__ import annotations

from dativo_plugin_sdk.errors import PluginExecutionError

PROTOCOL_ERROR = "PLUGIN_PROTOCOL_ERROR"


def breach(what: str) -> PluginExecutionError:
    """Make the error for a peer that said what the protocol does not allow; ``what`` is never the peer's own text."""
    return PluginExecutionError(
        f"the plugin's process broke the protocol: {what}",
        error_code=PROTOCOL_ERROR,
        hint="this is a fault of the plugin or of the SDK it was built with; tell its author",
    )
