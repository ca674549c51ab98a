"""Where a third-party plugin's code is, and what is known of it without running any of it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

from dativo_ingest.plugin_process.found import FoundPlugin, is_editable, sha256_of_distribution, sha256_of_files
from dativo_ingest.plugin_process.static_facts import (
    StaticFacts,
    facts_of_entry_point,
    facts_of_file,
    facts_of_module,
    file_of_module,
)
from dativo_ingest.plugin_process.version_checks import check_facts, requires_sdk_of, version_of
from dativo_ingest.sandbox.manifest import Kind, Manifest, load_manifest, manifest_beside, manifest_of
from dativo_plugin_sdk.errors import PluginLoadError

_FILE_CLASS = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


def plugin_of_file(kind: Kind, name: str) -> FoundPlugin:
    """Find a plugin by ``path/to/file.py:Class`` or by ``path/to/dativo-plugin.yaml``.

    Raises:
        PluginLoadError: There is no such file, or it has nothing of this kind.
        PluginVersionError: Its versions do not fit.
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
        PluginVersionError: Its versions do not fit.
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
        is_installed=True,
        is_editable=entry.dist is None or is_editable(entry.dist),
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
    folders = _packages_beside(manifest.folder)
    source = file_of_module(module, folders)
    return _found(
        kind,
        name,
        facts_of_module(module, class_name, folders),
        manifest,
        entry_point=entry,
        python=_python_beside(manifest.folder),
        sha256=sha256_of_files(manifest.path, *([source] if source is not None else [])),
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
    is_installed: bool = False,
    is_editable: bool = False,
) -> FoundPlugin:
    plugin = FoundPlugin(
        kind=kind,
        name=name,
        file=file,
        class_name=class_name,
        entry_point=entry_point,
        command=command,
        python=python,
        manifest=manifest,
        version=version_of(facts, manifest),
        requires_sdk=requires_sdk_of(facts, manifest),
        state_version=facts.state_version or (manifest.state_version if manifest is not None else 1),
        config_version=facts.config_version or (manifest.config_version if manifest is not None else 1),
        sha256=sha256,
        version_is_certain=facts.version_is_certain or command is not None,
        is_installed=is_installed,
        is_editable=is_editable,
    )
    check_facts(kind, facts, manifest, title=plugin.title, python=python)
    return plugin


def _python_beside(folder: Path) -> Path:
    """Give the interpreter of a plugin's own environment, if its folder has one, else the engine's."""
    own = folder / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def _packages_beside(folder: Path) -> list[Path]:
    """Give the folders of packages of a plugin's own environment, if its folder has one, else the engine's."""
    own = sorted((folder / ".venv" / "lib").glob("python*/site-packages"))
    return own or [Path(each or ".") for each in sys.path]
