"""The files that ``init`` and ``discover --write-assets`` write: a job, its contracts, and what it needs to run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dativo_plugin_sdk.errors import InvalidConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from dativo_ingest.job.load import LoadedJob

CONTRACT_ENDING = ".odcs.yaml"

_PLAIN = re.compile(r"[A-Za-z_./][\w./*-]*")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".", "..."})
_NOT_FILE_NAME = re.compile(r"[^\w.-]+")
_DEFAULTED = re.compile(r"(\$\{(?:env:)?[A-Za-z_]\w*:-)([^}]*)(\})")
_PATH_KEYS = ("path", "warehouse")


@dataclass(frozen=True)
class StreamFound:
    """One stream as the source shows it."""

    name: str
    schema: pa.Schema
    path: str | None = None
    """Where its files are, for a stream of files that is not the source's whole path."""


@dataclass
class Files:
    """Files to write together into one folder, or none of them.

    Attributes:
        folder: Where relative names go.
        texts: What each file will hold, by its name.
    """

    folder: Path
    texts: dict[str, str] = field(default_factory=dict)

    def in_the_way(self) -> list[str]:
        """List the files that are there already and hold something else."""
        return [name for name, text in self.texts.items() if self._differs(self.folder / name, text)]

    @staticmethod
    def _differs(path: Path, text: str) -> bool:
        return path.exists() and (not path.is_file() or path.read_bytes() != text.encode())

    def write(self, *, force: bool) -> list[Path]:
        """Write all files, making folders.

        Raises:
            InvalidConfigError: One is there and differs, and ``force`` is not given; nothing was written.
        """
        blocked = [] if force else self.in_the_way()
        if blocked:
            raise InvalidConfigError(
                f"already there with other content: {', '.join(str(self.folder / name) for name in blocked)}",
                hint="--force replaces them",
            )
        paths = [self.folder / name for name in self.texts]
        for path, text in zip(paths, self.texts.values(), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        return paths


def contract_text(stream: StreamFound) -> str:
    """Write the ODCS document of what a stream looks like."""
    from dativo_ingest.contracts.from_schema import contract_from_schema

    return contract_from_schema(stream.schema, name=stream.name)


def file_name(stream: str) -> str:
    """Give a stream's name in the letters that file names have everywhere."""
    return _NOT_FILE_NAME.sub("_", stream).strip("._") or "stream"


def flow_mapping(values: Mapping[str, Any]) -> str:
    """Write a small mapping on one line of YAML."""
    return "{" + ", ".join(f"{key}: {scalar(value)}" for key, value in values.items()) + "}"


def scalar(value: object) -> str:
    """Write one value as YAML reads it back; text that looks like something else is quoted."""
    import json

    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


def write_assets(loaded: LoadedJob, document: Mapping[str, Any], folder: str, *, force: bool) -> list[Path]:
    """Write a contract for each object of a discover document, and a job that runs them all.

    The job's source and target are those of the job asked, as written there: references stay references. Relative
    paths are made relative to ``folder``.

    Raises:
        InvalidConfigError: A file is there and differs, and ``force`` is not given.
    """
    target_folder = Path(folder)
    streams = streams_of(loaded, document["objects"])
    files = Files(target_folder)
    for stream in streams:
        files.texts[f"{file_name(stream.name)}{CONTRACT_ENDING}"] = contract_text(stream)
    files.texts["job.yaml"] = _discovered_job(loaded, streams, target_folder)
    return files.write(force=force)


def streams_of(loaded: LoadedJob, objects: Sequence[Mapping[str, Any]]) -> list[StreamFound]:
    """Find the schema of each object that the source can be read by; one without any column is left out."""
    from dativo_ingest.run.ends import open_source
    from dativo_plugin_sdk.streams import StreamSpec

    found = []
    with open_source(loaded) as source:
        for item in objects:
            options = {"path": item["path"]} if item.get("path") else {}
            schema = source.reader.schema(StreamSpec(name=item["name"], options=options))
            if len(schema):
                found.append(StreamFound(item["name"], schema, item.get("path")))
    return found


def _discovered_job(loaded: LoadedJob, streams: Sequence[StreamFound], folder: Path) -> str:
    from dativo_ingest.job.yaml_nodes import read_document
    from dativo_ingest.job.yaml_text import yaml_text

    written = read_document(loaded.path.read_bytes(), str(loaded.path)).data
    old, new = Path(loaded.folder).resolve(), folder.resolve()
    job: dict[str, Any] = {key: written[key] for key in ("version", "name", "tenant") if key in written}
    for end in ("source", "target"):
        section = dict(written[end])
        if section.get("connector", "").partition(":")[0].endswith(".py"):
            section["connector"] = moved(section["connector"], old, new)
        if isinstance(section.get("connection"), dict):
            section["connection"] = {
                key: moved(value, old, new) if key in _PATH_KEYS else value
                for key, value in section["connection"].items()
            }
        job[end] = section
    job |= {key: written[key] for key in ("defaults", "limits", "secrets") if written.get(key)}
    job["streams"] = {
        stream.name: {
            **({"path": moved(stream.path, old, new)} if stream.path else {}),
            "contract": f"{file_name(stream.name)}{CONTRACT_ENDING}",
        }
        for stream in streams
    }
    return yaml_text(job)


def moved(value: Any, old: Path, new: Path) -> Any:
    """Give a path that is relative to ``old`` as one relative to ``new``; other values as they are.

    Of a reference with a default the default is moved, as the value of the variable is relative to any job.
    """
    if not isinstance(value, str) or "://" in value:
        return value
    defaulted = _DEFAULTED.fullmatch(value)
    if defaulted:
        return f"{defaulted[1]}{moved(defaulted[2], old, new)}{defaulted[3]}"
    if "${" in value:
        return value
    path = Path(value)
    if path.is_absolute() and not path.is_relative_to(old):
        return value
    return Path(os.path.relpath(old / path, new)).as_posix()
