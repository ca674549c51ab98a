"""Where a third-party plugin's code is, and what is known of it without running any of it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

from dativo_ingest.plugin_process.found import FoundPlugin, sha256_of_distribution, sha256_of_files
from dativo_ingest.plugin_process.static_facts import (
    StaticFacts,
    facts_of_entry_point,
    facts_of_file,
    facts_of_module,
)
from dativo_ingest.sandbox.manifest import Kind, Manifest, load_manifest, manifest_beside, manifest_of
from dativo_plugin_sdk.errors import PluginLoadError

UNSAID_VERSION = "1.0.0"
"""The version of a plugin that says none."""

_FILE_CLASS = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def plugin_of_file(kind: Kind, name: str) -> FoundPlugin:
    """Find a plugin by ``path/to/file.py:Class`` or by ``path/to/dativo-plugin.yaml``.

    Raises:
        PluginLoadError: There is no such file, or it has nothing of this kind.
        ConfigurationError: Its manifest is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        return _of_manifest(kind, name, load_manifest(Path(name)))
    found = _FILE_CLASS.fullmatch(name)
    if found is None:
        raise PluginLoadError(f"{name!r} does not name a plugin", hint="write it as path/to/file.py:ClassName")
    file = Path(found["file"])
    if not file.is_file():
        raise PluginLoadError(f"plugin file {file} does not exist", details={"file": str(file)})
    return _of_class(kind, name, file.absolute(), found["name"], manifest_beside(kind, file, found["name"]))


def plugin_of_entry_point(kind: Kind, entry: EntryPoint) -> FoundPlugin:
    """Find an installed plugin, in the engine's own environment.

    Raises:
        PluginLoadError: What is installed is damaged.
        ConfigurationError: Its manifest is wrong.
    """
    manifest = manifest_of(entry.dist, entry.module) if entry.dist is not None else None
    return _found(
        kind,
        entry.name,
        facts_of_entry_point(entry),
        manifest,
        entry_point=entry.value,
        python=Path(sys.executable),
        sha256=sha256_of_distribution(entry.dist) if entry.dist is not None else "",
    )


def _of_manifest(kind: Kind, name: str, manifest: Manifest) -> FoundPlugin:
    entry = manifest.entry(kind)
    if entry is None:
        raise PluginLoadError(
            f"{name} has no {kind}", details={"file": name}, hint=f"its entrypoint.{kind} says where one is"
        )
    if isinstance(entry, tuple):
        files = [manifest.path, *(path for path in map(Path, entry) if path.is_file())]
        return _found(
            kind,
            name,
            StaticFacts(),
            manifest,
            command=entry,
            python=Path(sys.executable),
            sha256=sha256_of_files(*files),
        )
    found = _FILE_CLASS.fullmatch(entry)
    if found is not None:
        file = manifest.folder / found["file"]
        if not file.is_file():
            raise PluginLoadError(f"plugin file {file} does not exist", details={"file": str(file), "manifest": name})
        return _of_class(kind, name, file.absolute(), found["name"], manifest)
    module, _, class_name = entry.partition(":")
    return _found(
        kind,
        name,
        facts_of_module(module, class_name, [manifest.folder]),
        manifest,
        entry_point=entry,
        python=_python_beside(manifest.folder),
        sha256=sha256_of_files(manifest.path),
    )


def _of_class(kind: Kind, name: str, file: Path, class_name: str, manifest: Manifest | None) -> FoundPlugin:
    return _found(
        kind,
        name,
        facts_of_file(file, class_name),
        manifest,
        file=file,
        class_name=class_name,
        python=_python_beside(file.parent),
        sha256=sha256_of_files(file),
    )


def _found(  # noqa: PLR0913  the facts of a plugin
    kind: Kind,
    name: str,
    facts: StaticFacts,
    manifest: Manifest | None,
    *,
    python: Path,
    sha256: str,
    file: Path | None = None,
    class_name: str | None = None,
    entry_point: str | None = None,
    command: tuple[str, ...] | None = None,
) -> FoundPlugin:
    said = manifest.version if manifest is not None else None
    return FoundPlugin(
        kind=kind,
        name=name,
        file=file,
        class_name=class_name,
        entry_point=entry_point,
        command=command,
        python=python,
        manifest=manifest,
        version=facts.version or said or UNSAID_VERSION,
        requires_sdk=facts.requires_sdk or (manifest.requires_sdk if manifest is not None else None),
        state_version=facts.state_version or (manifest.state_version if manifest is not None else 1),
        config_version=facts.config_version or (manifest.config_version if manifest is not None else 1),
        sha256=sha256,
    )


def _python_beside(folder: Path) -> Path:
    """Give the interpreter of a plugin's own environment, if its folder has one, else the engine's."""
    own = folder / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)
