"""The configuration that plugins get, as users of the engine import it."""

from dativo_plugin_sdk.config import SourceConfig, TargetConfig

__all__ = ["SourceConfig", "TargetConfig"]
