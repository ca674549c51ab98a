"""A third-party plugin as it was found: where its code is and what is known of it without running any of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from dativo_ingest.job.files import MANIFEST_NAME
from dativo_ingest.sandbox.manifest import Kind, Manifest
from dativo_plugin_sdk.errors import PluginLoadError

_PART_BYTES = 2**20


@dataclass(frozen=True)
class FoundPlugin:
    """A plugin that runs in a process of its own.

    Attributes:
        kind: Whether it reads or writes.
        name: As the job names it.
        file: The Python file of its class, where the job or the manifest names one.
        class_name: The class in that file.
        entry_point: ``module:Class``, for an installed plugin.
        command: The program that speaks the protocol itself, for a plugin in another language.
        python: The interpreter that it runs with.
        manifest: What it says of itself, if it has a manifest.
        version: Its version.
        requires_sdk: The releases of the SDK that it asks for.
        state_version: The version of the state that it writes.
        config_version: The version of the configuration that it reads.
        sha256: Of the file; of an installed one of its distribution's RECORD; of one that a manifest names, of the
            manifest and the file, module or program's files that it names.
        version_is_certain: Whether no other version can come to light when it is imported.
        is_installed: Whether it was found by the name of an installed package's entry point.
        is_editable: Whether that package is installed for editing, its code being elsewhere.
    """

    kind: Kind
    name: str
    file: Path | None
    class_name: str | None
    entry_point: str | None
    command: tuple[str, ...] | None
    python: Path
    manifest: Manifest | None
    version: str
    requires_sdk: str | None
    state_version: int
    config_version: int
    sha256: str
    version_is_certain: bool = True
    is_installed: bool = False
    is_editable: bool = False

    @property
    def title(self) -> str:
        """What reports, logs and policies call it: the manifest's name, the file and its class, or the entry point."""
        if self.manifest is not None:
            return self.manifest.name
        if self.file is not None:
            return f"{self.file.name}:{self.class_name}"
        return self.name

    @property
    def folder(self) -> Path | None:
        """The folder that its code is in, where it is not installed."""
        if self.is_installed:
            return None
        if self.manifest is not None:
            return self.manifest.folder.absolute()
        return None if self.file is None else self.file.parent

    @property
    def manifest_place(self) -> str:
        """Where its manifest is; where it has none, where one would be: ``a dativo-plugin.yaml beside shop.py``."""
        if self.manifest is not None:
            return str(self.manifest.path)
        if self.file is not None:
            return f"a {MANIFEST_NAME} beside {self.file.name}"
        return f"a {MANIFEST_NAME} in the package of {self.name}"


def sha256_of_files(*paths: Path) -> str:
    """Hash files, one after the other; of one file it is the hash that ``sha256sum`` gives.

    Raises:
        PluginLoadError: One of them cannot be read.
    """
    found = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while part := file.read(_PART_BYTES):
                    found.update(part)
        except OSError as error:
            raise PluginLoadError(f"{path} cannot be read: {error.strerror}", details={"file": str(path)}) from error
    return found.hexdigest()


def is_editable(distribution: Distribution) -> bool:
    """Say whether a distribution is installed for editing (``direct_url.json``, PEP 610)."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable", False))
    except (ValueError, AttributeError):
        return False


def sha256_of_distribution(distribution: Distribution) -> str:
    """Hash an installed distribution's RECORD, which lists the hash of each of its files.

    One that has none, such as an egg, is hashed by its metadata.
    """
    record = distribution.read_text("RECORD") or distribution.read_text("SOURCES.txt") or str(distribution.metadata)
    return hashlib.sha256(record.encode()).hexdigest()
