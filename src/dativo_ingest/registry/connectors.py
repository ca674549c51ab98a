"""Connectors by name: built-in and installed ones through entry points, a single file by its path."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import PluginLoadError, ResourceNotFoundError
from dativo_plugin_sdk.migrating_reader import MigratingReader
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.simple_reader import SimpleReader
from dativo_plugin_sdk.simple_writer import SimpleWriter, StateStore
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter
from dativo_plugin_sdk.writer import BaseWriter

if TYPE_CHECKING:
    from dativo_ingest.plugin_process.found import FoundPlugin
    from dativo_ingest.plugin_process.starting import Hosted

Kind: TypeAlias = Literal["reader", "writer"]

_GROUPS: dict[Kind, str] = {"reader": "dativo.readers", "writer": "dativo.writers"}
_FILES = (".py", ".yaml", ".yml")
_BUILT_IN = "dativo_ingest."
_PACKAGE = "dativo-ingest"


@dataclass(frozen=True)
class Connector:
    """A connector found by name: its class, and what reports say of it.

    Attributes:
        name: As the job has it.
        version: Its version.
        built_in: Whether it runs in the engine's own process.
        plugin: The class of a built-in one; of any other, what was found, nothing of which is imported here.
    """

    name: str
    version: str
    built_in: bool
    plugin: type[Any] | FoundPlugin


def known(kind: Kind) -> list[str]:
    """List the names a job may use, without importing any of them."""
    return sorted({entry.name for entry in entry_points(group=_GROUPS[kind])})


def find(kind: Kind, name: str) -> Connector:
    """Find a connector by entry point or by ``path/to/file.py:Class``.

    Raises:
        ResourceNotFoundError: Nothing has this name; the message lists what there is.
        PluginLoadError: It is there and cannot be loaded.
    """
    if ":" in name or name.endswith(_FILES):
        from dativo_ingest.registry import plugins  # noqa: PLC0415  built-in connectors do without what it imports

        return _of_plugin(name, plugins.found_in_file(kind, name))
    built_in = _built_in(kind, name)
    if built_in is not None:
        return _load(kind, built_in)
    entries = {entry.name: entry for entry in entry_points(group=_GROUPS[kind])}
    if name not in entries:
        end = "source" if kind == "reader" else "target"
        close = difflib.get_close_matches(name, entries, n=1)
        guess = f", did you mean {close[0]}" if close else ""
        raise ResourceNotFoundError(
            f"there is no {end} connector {name!r}{guess}; known ones: {', '.join(sorted(entries))}",
            details={"connector": name, "known": sorted(entries)},
            hint="a plugin in a file is named path/to/file.py:ClassName",
        )
    entry = entries[name]
    if entry.value.startswith(_BUILT_IN):
        return _load(kind, entry)
    from dativo_ingest.registry import plugins  # noqa: PLC0415  built-in connectors do without what it imports

    return _of_plugin(name, plugins.found_installed(kind, entry))


def _of_plugin(name: str, plugin: FoundPlugin) -> Connector:
    return Connector(name, plugin.version, built_in=False, plugin=plugin)


def _built_in(kind: Kind, name: str) -> EntryPoint | None:
    """Find a connector of our own, without a look into every package that is installed."""
    try:
        entries = distribution(_PACKAGE).entry_points
    except PackageNotFoundError:  # run from its sources
        return None
    return next(iter(entries.select(group=_GROUPS[kind], name=name)), None)


def _load(kind: Kind, entry: EntryPoint) -> Connector:
    """Import a connector of our own."""
    found = entry.load()
    bases = (StreamReader, BaseReader) if kind == "reader" else (StreamWriter, BaseWriter)
    if not (isinstance(found, type) and issubclass(found, bases)):
        raise PluginLoadError(f"the {kind} {entry.name} ({entry.value}) is no {' or '.join(b.__name__ for b in bases)}")
    version = entry.dist.version if entry.dist else str(getattr(found, "__version__", "1.0.0"))
    return Connector(entry.name, version, built_in=True, plugin=found)


def make_reader(connector: Connector, config: SourceConfig, hosted: Hosted | None = None) -> StreamReader:
    """Make the reader that the engine talks to.

    Args:
        connector: What was found.
        config: The source, as the job has it.
        hosted: How a plugin is run; none is needed for a connector of our own.
    """
    plugin = connector.plugin
    if not isinstance(plugin, type):
        from dativo_ingest.registry import plugins  # noqa: PLC0415  built-in connectors do without what it imports

        return plugins.remote_reader(plugin, config, hosted)
    reader = plugin(config) if issubclass(plugin, StreamReader) else SimpleReader(plugin, config)
    return MigratingReader(reader, plugin)


def make_writer(
    connector: Connector,
    config: TargetConfig,
    hosted: Hosted | None = None,
    *,
    states: StateStore,
    output_base: str,
) -> StreamWriter:
    """Make the writer that the engine talks to.

    Args:
        connector: What was found.
        config: The target, as the job has it.
        hosted: How a plugin is run; none is needed for a connector of our own.
        states: Where the state of a simple writer is kept.
        output_base: The folder or URI that its files go under.
    """
    plugin = connector.plugin
    if not isinstance(plugin, type):
        from dativo_ingest.registry import plugins  # noqa: PLC0415  built-in connectors do without what it imports

        return plugins.remote_writer(plugin, config, hosted, states, output_base)
    if issubclass(plugin, StreamWriter):
        return plugin(config)
    return SimpleWriter(plugin, config, states=states, output_base=output_base)
