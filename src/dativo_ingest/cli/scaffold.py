"""The files that ``init`` and ``discover --write-assets`` write: a job, its contracts, and what it needs to run."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dativo_plugin_sdk.errors import DataError, InvalidConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from dativo_ingest.job.load import LoadedJob

CONTRACT_ENDING = ".odcs.yaml"

_PLAIN = re.compile(r"[A-Za-z_./][\w./*-]*")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".", "..."})
_NOT_FILE_NAME = re.compile(r"[^\w.-]+")
_DEFAULTED = re.compile(r"(\$\{(?:env:)?[A-Za-z_]\w*:-)([^}]*)(\})")


@dataclass(frozen=True)
class StreamFound:
    """One stream as the source shows it."""

    name: str
    schema: pa.Schema
    path: str | None = None
    """Where its files are, for a stream of files that is not the source's whole path."""
    primary_key: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else the job says of it."""


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

    return contract_from_schema(stream.schema, name=stream.name, primary_key=stream.primary_key)


def file_name(stream: str) -> str:
    """Give a stream's name in the letters that file names have everywhere."""
    return _NOT_FILE_NAME.sub("_", stream).strip("._") or "stream"


def distinct(names: Iterable[str]) -> list[str]:
    """Number names that come again (``a``, ``a_2``), also where they differ in capitals only."""
    taken: set[str] = set()
    given = []
    for name in names:
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        given.append(next(candidate for candidate in candidates if candidate.lower() not in taken))
        taken.add(given[-1].lower())
    return given


def flow_mapping(values: Mapping[str, Any]) -> str:
    """Write a small mapping on one line of YAML."""
    return "{" + ", ".join(f"{key}: {scalar(value)}" for key, value in values.items()) + "}"


def scalar(value: object) -> str:
    """Write one value as YAML reads it back; text that looks like something else is quoted."""
    import json

    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


def write_assets(
    loaded: LoadedJob, document: Mapping[str, Any], folder: str, *, force: bool
) -> tuple[list[Path], list[str]]:
    """Write a contract for each object of a discover document, and a job that runs them all.

    The job's source and target are those of the job asked, as written there: references stay references. Relative
    paths are made relative to ``folder``.

    Returns:
        The files, and what was left out because it cannot be read.

    Raises:
        InvalidConfigError: A file is there and differs, and ``force`` is not given.
        DataError: There are objects, and none of them can be read.
    """
    target_folder = Path(folder)
    streams, left_out = streams_of(loaded, document["objects"])
    contracts = [f"{name}{CONTRACT_ENDING}" for name in distinct(file_name(stream.name) for stream in streams)]
    files = Files(target_folder)
    for stream, contract in zip(streams, contracts, strict=True):
        files.texts[contract] = contract_text(stream)
    files.texts["job.yaml"] = _discovered_job(loaded, streams, contracts, target_folder)
    return files.write(force=force), left_out


def streams_of(loaded: LoadedJob, objects: Sequence[Mapping[str, Any]]) -> tuple[list[StreamFound], list[str]]:
    """Find the schema of each object; one that cannot be read or has no column is left out, and why is told.

    Raises:
        DataError: None of them can be read.
    """
    from dativo_ingest.run.ends import open_source
    from dativo_plugin_sdk.streams import StreamSpec

    found: list[StreamFound] = []
    left_out: list[str] = []
    failure: DataError | None = None
    specs = [
        StreamSpec(name=item["name"], options={"path": item["path"]} if item.get("path") else {}) for item in objects
    ]
    with open_source(loaded) as source:
        source.reader.prepare(specs)
        for item, spec in zip(objects, specs, strict=True):
            try:
                schema = source.reader.schema(spec)
            except DataError as error:
                failure = error
                left_out.append(f"{item['name']} is left out: {error}")
                continue
            if len(schema):
                key = tuple(name for name in item.get("primary_key") or () if name in schema.names)
                settings = _proposed(item, key, loaded.job.defaults.mode)
                found.append(StreamFound(item["name"], schema, item.get("path"), key, settings))
            else:
                left_out.append(f"{item['name']} is left out: it has no columns")
    if failure is not None and not found:
        raise failure
    return found, left_out


def _proposed(item: Mapping[str, Any], key: Sequence[str], default_mode: str) -> dict[str, Any]:
    """Say how to load an object: by the cursor that its source proposes, else as a whole where it proposes none."""
    if "cursor" not in item:  # the source leaves it to the job's defaults
        return {}
    mode = "full_refresh" if item["cursor"] is None else "incremental"
    return {
        **({"mode": mode} if mode != default_mode else {}),
        **({} if item["cursor"] is None else {"cursor": item["cursor"]}),
        **({"primary_key": list(key)} if key else {}),
    }


def _discovered_job(loaded: LoadedJob, streams: Sequence[StreamFound], contracts: Sequence[str], folder: Path) -> str:
    from dativo_ingest.job.load import path_keys
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
            keys = path_keys(getattr(loaded.job, end).connection)
            section["connection"] = {
                key: moved(value, old, new) if key in keys else value for key, value in section["connection"].items()
            }
        job[end] = section
    job |= {key: written[key] for key in ("defaults", "limits", "secrets") if written.get(key)}
    named = [stream.name.rsplit(".", 1)[-1] for stream in streams]
    tables = distinct(
        name if named.count(name) == 1 else stream.name.replace(".", "_")
        for stream, name in zip(streams, named, strict=True)
    )
    job["streams"] = {
        stream.name: {
            **({"path": moved(stream.path, old, new)} if stream.path else {}),
            **({"table": table} if table != name else {}),
            **stream.settings,
            "contract": contract,
        }
        for stream, name, table, contract in zip(streams, named, tables, contracts, strict=True)
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
