"""What a plugin asks for in one job: its manifest, with what that takes from the job's configuration filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dativo_ingest.job.problems import Loc, dotted
from dativo_ingest.sandbox.hosts import FromConfig, Host, hosts_in, read_asked
from dativo_ingest.sandbox.manifest import Manifest
from dativo_plugin_sdk.errors import InvalidConfigError, MissingConfigError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SPECIAL = re.compile(r"[*?\[]")
_CONFIG = "config:"


@dataclass(frozen=True)
class EndConfig:
    """One end of a job, as far as a grant depends on it: no value of a credential is in it.

    Attributes:
        end: Which end it is.
        folder: The job's folder, which relative paths start at.
        connection: As the plugin gets it.
        options: As the plugin gets them.
        credentials: Their keys.
        other_secrets: Where it has secrets that are no credentials.
        locate: Gives ``job.yaml:6:3`` for a key of the job.
    """

    end: Literal["source", "target"]
    folder: Path
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: tuple[str, ...] = ()
    other_secrets: tuple[str, ...] = ()
    locate: Callable[[Loc], str] = field(default=lambda _: "the job", repr=False, compare=False)

    def value(self, key: tuple[str, ...]) -> object:
        """Give what stands at ``connection.host``; None where nothing does."""
        found: object = {"connection": self.connection, "options": self.options}
        for part in key:
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def place(self, *key: str) -> str:
        """Say where a key of this end stands."""
        return f"{self.locate((self.end, *key))} {dotted((self.end, *key))}"


@dataclass(frozen=True)
class AskedHost:
    """A host that is asked for, and where.

    Attributes:
        host: The host.
        where: Where it is asked for.
        is_the_jobs: Whether the job's own configuration names it, and not the plugin.
    """

    host: Host
    where: str
    is_the_jobs: bool = False


@dataclass(frozen=True)
class AskedText:
    """A path or a secret's name that is asked for, and where."""

    text: str
    where: str


def asked_hosts(manifest: Manifest, config: EndConfig) -> Iterator[AskedHost]:
    """Give the hosts that a manifest asks for; a key that the job does not have asks for nothing.

    Raises:
        InvalidConfigError: The job has no host, or no port, where the manifest looks for one.
    """
    for index, written in enumerate(manifest.capabilities.network):
        where = manifest.locate(("capabilities", "network", index))
        asked = read_asked(written)
        if isinstance(asked, Host):
            yield AskedHost(asked, where)
        else:
            yield from (
                AskedHost(host, f"{where} {written}", is_the_jobs=True)
                for host in _configured(asked, written, where, config)
            )


def _configured(asked: FromConfig, written: str, where: str, config: EndConfig) -> Iterator[Host]:
    value = config.value(asked.key)
    port: object = asked.port
    if isinstance(asked.port, tuple):
        port = config.value(asked.port)
    if value is None or (port is None and asked.port is not None):
        return
    try:
        yield from hosts_in(value, port)
    except ValueError as error:
        raise InvalidConfigError(
            f"{config.place(*asked.key)}: {error}, which the plugin's manifest asks for ({where}: {written})",
            hint=f"write the host with its port there, or have the manifest say it: {dotted(asked.key)}:5432",
        ) from None


def asked_paths(manifest: Manifest, config: EndConfig, access: Literal["read", "write"]) -> Iterator[AskedText]:
    """Give the files and folders that a manifest asks for, absolute; what the job names by a URI is none."""
    written = manifest.capabilities.filesystem.read if access == "read" else manifest.capabilities.filesystem.write
    for index, each in enumerate(written):
        where = manifest.locate(("capabilities", "filesystem", access, index))
        if not each.startswith(_CONFIG):
            yield AskedText(_absolute(each, manifest.folder), where)
            continue
        value = config.value(tuple(each.removeprefix(_CONFIG).split(".")))
        for path in local_paths(value, config.folder):
            yield AskedText(path, f"{where} {each}")


def local_paths(value: object, folder: Path) -> Iterator[str]:
    """Give the files and folders of this machine that a value of a job names, absolute; of a glob its folder."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and text not in {"", "-", ":memory:"} and not _URI.match(text):
            yield _absolute(_before_stars(text), folder)


def _absolute(text: str, folder: Path) -> str:
    return os.path.abspath(folder / text)  # noqa: PTH100  links stay


def _before_stars(text: str) -> str:
    """Give the folder that a glob starts at; of a path without a star, the path."""
    found = _SPECIAL.search(text)
    if found is None:
        return text
    folder, separator, _ = text[: found.start()].rpartition("/")
    return folder or separator or "."


def asked_secrets(plugin: str, manifest: Manifest | None, config: EndConfig) -> list[AskedText]:
    """Give the credentials that a plugin is to get: those that its manifest names, else those that the job gives it.

    Raises:
        InvalidConfigError: The job gives one that the manifest does not name, or one that has no name.
        MissingConfigError: The job lacks one that the manifest names.
    """
    if manifest is None:
        return [AskedText(name, config.place("credentials", name)) for name in config.credentials]
    if config.other_secrets:
        raise InvalidConfigError(
            f"{plugin} has a manifest, so that it gets its secrets by name, from credentials; the job has others:\n"
            + "\n".join(f"  {place}" for place in config.other_secrets),
            details={"places": list(config.other_secrets)},
            hint="move them into credentials, and have the manifest name them",
        )
    written = list(enumerate(manifest.capabilities.secrets))
    named = {text.removesuffix("?"): manifest.locate(("capabilities", "secrets", index)) for index, text in written}
    unnamed = [name for name in config.credentials if name not in named]
    section = f"{manifest.locate(('capabilities', 'secrets'))} capabilities.secrets"
    if unnamed:
        raise InvalidConfigError(
            f"the job gives {plugin} credentials that its manifest does not name:\n"
            + "\n".join(f"  {config.place('credentials', name)}" for name in unnamed)
            + f"\n  {section}: {', '.join(manifest.capabilities.secrets) or 'none'}",
            details={"unnamed": unnamed, "named": list(named)},
            hint="take them out of the job, or have the manifest name them",
        )
    missing = [text for _, text in written if not text.endswith("?") and text not in config.credentials]
    if missing:
        raise MissingConfigError(
            f"{plugin} needs credentials that the job does not have:\n"
            + "\n".join(f"  {config.end}.credentials.{name}  named at {named[name]}" for name in missing),
            details={"missing": missing},
            hint="add them to the job; one that a job may leave out has a ? behind its name in the manifest",
        )
    return [AskedText(name, named[name]) for name in config.credentials]
