"""The plugin interface, as users of the engine import it."""

from dativo_ingest.registry.plugin_loader import PluginLoader
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.writer import BaseWriter

__all__ = ["BaseReader", "BaseWriter", "ConnectionTestResult", "DiscoveryResult", "PluginLoader"]
