"""Third-party connectors: found without being imported, and run in processes of their own."""

from __future__ import annotations

from typing import Any

import dativo_plugin_sdk
from dativo_ingest.plugin_process.finding import (
    plugin_of_entry_point as found_installed,
    plugin_of_file as found_in_file,
)
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.loading import class_from_entry_point, class_from_path
from dativo_plugin_sdk.simple_writer import SimpleWriter, StateStore
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter
from dativo_plugin_sdk.versions import check_plugin
from dativo_plugin_sdk.writer import BaseWriter

__all__ = ["found_in_file", "found_installed", "remote_reader", "remote_writer"]


def remote_reader(plugin: FoundPlugin, config: SourceConfig, hosted: Hosted | None) -> StreamReader:
    """Make the reader that talks with a plugin's processes."""
    return RemoteReader(config, Starter(plugin, config, hosted or Hosted.alone("source", plugin)))


def remote_writer(
    plugin: FoundPlugin,
    config: TargetConfig,
    hosted: Hosted | None,  # noqa: ARG001  writers are still to move into processes of their own
    states: StateStore,
    output_base: str,
) -> StreamWriter:
    """Make the writer that talks with a plugin's processes; for now it is imported into this one."""
    found: type[Any]
    if plugin.file is not None:
        found = class_from_path(f"{plugin.file}:{plugin.class_name}", StreamWriter, BaseWriter)
    else:
        found = class_from_entry_point(str(plugin.entry_point), StreamWriter, BaseWriter)
    check_plugin(found, where=plugin.title, sdk=dativo_plugin_sdk.__version__)
    if issubclass(found, StreamWriter):
        return found(config)
    return SimpleWriter(found, config, states=states, output_base=output_base)
