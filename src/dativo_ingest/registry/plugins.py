"""Third-party connectors: found without being imported, and run in processes of their own."""

from __future__ import annotations

from dativo_ingest.plugin_process.finding import (
    plugin_of_entry_point as found_installed,
    plugin_of_file as found_in_file,
)
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.remote_writer import remote_writer as writer_of
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.simple_writer import StateStore
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter

__all__ = ["found_in_file", "found_installed", "remote_reader", "remote_writer"]


def remote_reader(plugin: FoundPlugin, config: SourceConfig, hosted: Hosted | None) -> StreamReader:
    """Make the reader that talks with a plugin's processes."""
    return RemoteReader(config, Starter(plugin, config, hosted or Hosted.alone("source", plugin)))


def remote_writer(
    plugin: FoundPlugin, config: TargetConfig, hosted: Hosted | None, states: StateStore, output_base: str
) -> StreamWriter:
    """Make the writer that talks with a plugin's processes, of which the first one starts here."""
    starter = Starter(plugin, config, hosted or Hosted.alone("target", plugin))
    return writer_of(starter, config, states=states, output_base=output_base)
