"""The import path that plugins written for earlier releases use."""

from dativo_plugin_sdk.state import IncrementalStateManager

__all__ = ["IncrementalStateManager"]
