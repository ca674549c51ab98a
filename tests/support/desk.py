"""Job files written by tests, with an environment and secrets of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dativo_ingest.job.load import LoadedJob, load_job
from dativo_plugin_sdk.errors import MissingConfigError

SMALL_JOB = """\
version: 1
name: orders
source:
  connector: csv
  connection: {path: data}
target:
  connector: iceberg
  connection: {warehouse: lake}
streams:
  orders: {}
"""


@dataclass
class KnownSecrets:
    """Secrets in a dict, and a list of what was to be hidden."""

    values: Mapping[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(self, reference: str, backends: Mapping[str, Mapping[str, Any]]) -> str:
        self.asked.append((reference, backends))
        if reference not in self.values:
            raise MissingConfigError(f"secret {reference!r}: there is none", hint=f"store {reference}")
        return self.values[reference]

    def hide(self, value: str) -> None:
        self.hidden.append(value)


@dataclass
class Desk:
    """A folder to write job files in, an environment, and secrets."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    secrets: KnownSecrets = field(default_factory=KnownSecrets)

    def load(self, text: str | bytes, name: str = "job.yaml") -> LoadedJob:
        file = self.folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_job(name, environ=self.environ, resolve_secret=self.secrets)


def small_job(**replaced: str) -> str:
    """Give a small job whose lines that begin with a key are replaced, and others added."""
    lines = SMALL_JOB.splitlines()
    for key, line in replaced.items():
        found = [index for index, each in enumerate(lines) if each.strip().startswith(f"{key}:")]
        if found:
            lines[found[0]] = line
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
