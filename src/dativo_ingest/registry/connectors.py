"""Connectors by name: built-in and installed ones through entry points, a single file by its path."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Any, Literal, TypeAlias

import dativo_plugin_sdk
from dativo_ingest.registry.plugin_loader import PluginLoader
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import PluginLoadError, ResourceNotFoundError, SandboxError, wrap_exception
from dativo_plugin_sdk.migrating_reader import MigratingReader
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.simple_reader import SimpleReader
from dativo_plugin_sdk.simple_writer import SimpleWriter, StateStore
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter
from dativo_plugin_sdk.versions import check_plugin
from dativo_plugin_sdk.writer import BaseWriter

Kind: TypeAlias = Literal["reader", "writer"]
Mode: TypeAlias = Literal["self_hosted", "cloud"]

_GROUPS: dict[Kind, str] = {"reader": "dativo.readers", "writer": "dativo.writers"}
_BUILT_IN = "dativo_ingest."
_PACKAGE = "dativo-ingest"


@dataclass(frozen=True)
class Connector:
    """A connector found by name: its class, and what reports say of it."""

    name: str
    version: str
    built_in: bool
    plugin: type[Any]


def known(kind: Kind) -> list[str]:
    """List the names a job may use, without importing any of them."""
    return sorted({entry.name for entry in entry_points(group=_GROUPS[kind])})


def find(kind: Kind, name: str, *, mode: Mode = "self_hosted") -> Connector:
    """Find a connector by entry point or by ``path/to/file.py:Class``.

    Raises:
        ResourceNotFoundError: Nothing has this name; the message lists what there is.
        PluginLoadError: It is there and cannot be loaded.
        SandboxError: It is third-party code and ``mode`` is ``cloud``, where such code may not run in this process.
    """
    if ":" in name or name.endswith(".py"):
        _refuse_in_cloud(name, mode)
        base: type = BaseReader if kind == "reader" else BaseWriter
        found: type = PluginLoader.load_class_from_path(name, base)
        return Connector(name, str(getattr(found, "__version__", "1.0.0")), built_in=False, plugin=found)
    built_in = _built_in(kind, name)
    if built_in is not None:
        return _load(kind, built_in, mode)
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
    return _load(kind, entries[name], mode)


def _built_in(kind: Kind, name: str) -> EntryPoint | None:
    """Find a connector of our own, without a look into every package that is installed."""
    try:
        entries = distribution(_PACKAGE).entry_points
    except PackageNotFoundError:  # run from its sources
        return None
    return next(iter(entries.select(group=_GROUPS[kind], name=name)), None)


def _load(kind: Kind, entry: EntryPoint, mode: Mode) -> Connector:
    built_in = entry.value.startswith(_BUILT_IN)
    if not built_in:
        _refuse_in_cloud(entry.name, mode)
    try:
        found = entry.load()
    except Exception as error:  # foreign code: whatever importing it raises, it is the plugin that failed
        raise wrap_exception(
            error, PluginLoadError, f"loading the {kind} {entry.name} ({entry.value}) failed: {error}"
        ) from error
    bases = (StreamReader, BaseReader) if kind == "reader" else (StreamWriter, BaseWriter)
    if not (isinstance(found, type) and issubclass(found, bases)):
        raise PluginLoadError(f"the {kind} {entry.name} ({entry.value}) is no {' or '.join(b.__name__ for b in bases)}")
    if not built_in:
        check_plugin(found, where=entry.name, sdk=dativo_plugin_sdk.__version__)
    version = entry.dist.version if built_in and entry.dist else str(getattr(found, "__version__", "1.0.0"))
    return Connector(entry.name, version, built_in=built_in, plugin=found)


def _refuse_in_cloud(name: str, mode: Mode) -> None:
    if mode == "cloud":
        raise SandboxError(
            f"the plugin {name} would run in the engine's own process, which mode cloud does not allow",
            error_code="SANDBOX_UNAVAILABLE",
            hint="run it with --mode self_hosted on a machine of your own, or use a built-in connector",
        )


def make_reader(connector: Connector, config: SourceConfig) -> StreamReader:
    """Make the reader that the engine talks to, adapting a simple plugin."""
    is_simple = not issubclass(connector.plugin, StreamReader)
    reader = SimpleReader(connector.plugin, config) if is_simple else connector.plugin(config)
    return MigratingReader(reader, connector.plugin)


def make_writer(connector: Connector, config: TargetConfig, *, states: StateStore, output_base: str) -> StreamWriter:
    """Make the writer that the engine talks to, adapting a simple plugin, whose state ``states`` keeps."""
    if issubclass(connector.plugin, StreamWriter):
        return connector.plugin(config)
    return SimpleWriter(connector.plugin, config, states=states, output_base=output_base)
