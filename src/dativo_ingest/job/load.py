"""A job file becomes a `Job`, and everything wrong with it one error with file, line and column."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dativo_ingest.job.files import MANIFEST_NAME, MAX_BYTES, read_file
from dativo_ingest.job.model import Job
from dativo_ingest.job.problems import Loc, Problem, dotted, error_of
from dativo_ingest.job.references import ResolveSecret, resolve_references, secret_places
from dativo_ingest.job.yaml_nodes import Document, read_document
from dativo_plugin_sdk.config import parse
from dativo_plugin_sdk.errors import (
    ConfigurationError,
    InsufficientPermissionsError,
    InvalidConfigError,
    MissingConfigError,
)

JOB_ENDINGS = (".yaml", ".yml")
CONTRACT_ENDINGS = (".odcs.yaml", ".odcs.yml")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MANIFEST_ENDINGS = (".yaml", ".yml")
_PLUGIN_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_SECTIONS = ("connection", "credentials", "options")
_SERVICES = ("http://", "https://", "thrift://")
_TLS_FILES = ("sslrootcert", "sslcert", "sslkey")
_SERVED = frozenset({"rest", "glue", "hive", "dynamodb", "bigquery"})


@dataclass(frozen=True)
class LoadedJob:
    """A job, and where each of its keys stands.

    Attributes:
        job: The job, its references filled in and its paths absolute.
        path: The file as it was asked for; ``-`` is stdin.
        folder: The folder that its relative paths are relative to, absolute.
    """

    job: Job
    path: Path
    folder: Path
    _document: Document = field(repr=False, compare=False)

    def locate(self, loc: Loc) -> str:
        """Give ``job.yaml:6:3`` for a key, or for the nearest one above it that the file has."""
        position = self._document.position(loc)
        return f"{self._document.name}:{position.line}:{position.column}"

    def secrets_beside_credentials(self, end: Literal["source", "target"]) -> list[str]:
        """Say where an end's connector gets secrets that are not in its ``credentials``."""
        sections: list[Loc] = [(end, "connection"), (end, "options")]
        if end == "source":
            sections += [("streams", name, "options") for name in self.job.streams]
        places = (loc for section in sections for loc in secret_places(self._document, section))
        return sorted(f"{self.locate(loc)} {dotted(loc)}" for loc in places)

    def explain(self, error: InvalidConfigError, base: Loc = ()) -> InvalidConfigError:
        """Give a connector's complaint about its configuration the positions of the job file.

        Args:
            error: From `dativo_plugin_sdk.config.parse`: each of ``details["problems"]`` has ``loc`` and ``message``.
            base: Where the configuration stands: ``("source", "connection")``. A key that is not there is looked for
                beside it, in ``connection``, ``credentials`` and ``options``, since connectors read them as one.

        Returns:
            An error of the same class; `error` itself is left as it is.
        """
        start = self._written(base)
        found = error.details.get("problems")
        if not isinstance(found, list) or not found:
            problems = [Problem(start, error.message, self._document.position(start), error.hint, type(error))]
            return _as_invalid(error_of(problems, self._document.name), error)
        problems = []
        for item in found:
            loc = self._place(start, tuple(item["loc"]))
            position = self._document.position(loc)
            problems.append(Problem(loc, str(item["message"]), position, error.hint, type(error)))
        return _as_invalid(error_of(problems, self._document.name), error)

    def placed(self, error: BaseException) -> BaseException:
        """Give what `parse` says of a stream's own options its position; any other error as it is."""
        place = tuple(str(error.details.get("where", "")).split(".")) if isinstance(error, InvalidConfigError) else ()
        if not isinstance(error, InvalidConfigError) or place[0] != "streams" or "problems" not in error.details:
            return error
        placed = self.explain(error, place)
        placed.__cause__ = error
        return placed

    def _place(self, base: Loc, loc: Loc) -> Loc:
        """Find the key that a connector complains of, where it reads several sections as one."""
        if not loc or self._document.has((*base, *loc[:1])) or base[:1] not in {("source",), ("target",), ("streams",)}:
            return (*base, *loc)
        end = base if base[0] == "streams" else base[:1]
        for section in _SECTIONS:
            if self._document.has((*end, section, loc[0])):
                return (*end, section, *loc)
        return (*base, *loc)

    def _written(self, base: Loc) -> Loc:
        """Join the parts of a way that was split at the dots of a stream's name (``public.orders``)."""
        written: Loc = ()
        rest = base
        while rest:
            sizes = range(len(rest), 0, -1)
            size = next((size for size in sizes if self._document.has((*written, dotted(rest[:size])))), 1)
            written = (*written, rest[0] if size == 1 else dotted(rest[:size]))
            rest = rest[size:]
        return written


def load_job(path: str | Path, *, environ: Mapping[str, str], resolve_secret: ResolveSecret) -> LoadedJob:
    """Read a job file.

    Args:
        path: The file; ``-`` reads stdin, and relative paths are then relative to the working folder.
        environ: The variables that ``${NAME}`` stands for.
        resolve_secret: Gives what ``${secret:…}`` stands for, and hides values from everything printed.

    Raises:
        MissingConfigError: There is no such file, or nothing is wrong but references to what does not exist.
        InsufficientPermissionsError: The file, or one it refers to, may not be read.
        InvalidConfigError: Something else is wrong. The message has a line for each problem of the file:
            ``job.yaml:6:3 source.connector: required key is missing``; ``details["problems"]`` has them as data.
        DativoError: A secret back end failed; of the class that says whether trying again helps.
    """
    path = Path(path)
    folder = Path.cwd() if str(path) == "-" else Path(os.path.abspath(path)).parent  # noqa: PTH100  links stay
    document = read_document(_read(path), "<stdin>" if str(path) == "-" else str(path))
    resolved = resolve_references(
        document,
        environ=environ,
        resolve_secret=resolve_secret,
        read_file=lambda name: _referred_text(name, folder),
        place_backends=lambda backends: _placed_backends(backends, folder),
    )
    data = _placed(resolved.data, folder)
    problems = list(resolved.problems)
    try:
        job = parse(Job, data, where="")
    except InvalidConfigError as error:
        for item in error.details["problems"]:
            loc = tuple(item["loc"])
            if not any(loc[: len(failed)] == failed for failed in resolved.failed):
                problems.append(Problem(loc, item["message"], document.position(loc)))
        raise error_of(problems, document.name) from None
    if problems:
        raise error_of(problems, document.name)
    return LoadedJob(job, path, folder, document)


def path_keys(connection: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the keys of a connection that are paths here: the ``warehouse`` of a catalog service is a name there."""
    files = tuple(key for key in _TLS_FILES if connection.get(key) != "system")  # a word of libpq
    uri, kind = connection.get("uri"), connection.get("type")
    is_served = (isinstance(uri, str) and uri.startswith(_SERVICES)) or kind in _SERVED
    return ("path", *files) if is_served else ("path", "warehouse", *files)


def find_jobs(folder: str | Path) -> list[Path]:
    """List the job files of a folder, by name: ``*.yaml`` and ``*.yml``, no contracts, manifests and hidden files.

    Raises:
        MissingConfigError: There is no such folder, or no job in it.
        InsufficientPermissionsError: The folder may not be read.
    """
    folder = Path(folder)
    try:
        found = sorted(path for path in folder.iterdir() if _is_job(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingConfigError(f"{folder}: there is no such folder") from error
    except PermissionError as error:
        raise InsufficientPermissionsError(f"{folder}: this folder may not be read") from error
    if not found:
        raise MissingConfigError(
            f"{folder}: no job file in it", hint="jobs are *.yaml files; *.odcs.yaml are contracts"
        )
    return found


def absolute_path(written: str, folder: Path) -> str:
    """Give a path of a job file as an absolute one; URIs, ``-`` and ``:memory:`` stay, ``~`` is the home folder.

    Links are kept as they are written, so that a mounted job finds what lies beside it, but ``..`` follows them.
    """
    if not written or written in {"-", ":memory:"} or _URI.match(written):
        return written
    start = os.path.realpath(folder) if ".." in Path(written).parts else str(folder)
    return os.path.normpath(os.path.join(start, os.path.expanduser(written)))  # noqa: PTH111,PTH118  globs are no Paths


def _is_job(path: Path) -> bool:
    name = path.name
    is_yaml = name.endswith(JOB_ENDINGS) and not name.endswith((*CONTRACT_ENDINGS, MANIFEST_NAME))
    return is_yaml and not name.startswith(".") and path.is_file()


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    return read_file(path, what="job file", hint_if_missing="dativo init writes one to start from")


def _referred_text(name: str, folder: Path) -> str:
    path = absolute_path(name, folder)
    if _URI.match(path) or path == "-":
        raise InvalidConfigError("${file:…} reads local files only")
    raw = read_file(Path(path), what="file", hint_if_missing="paths are relative to the job file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfigError(f"{path}: this file is not UTF-8 text") from error
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _placed(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of a job's data absolute, wherever they are where they belong."""
    placed = dict(data)
    for end in ("source", "target"):
        if isinstance(section := placed.get(end), dict):
            placed[end] = _placed_end(section, folder)
    if isinstance(streams := placed.get("streams"), dict):
        placed["streams"] = {
            name: _with_paths(stream, ("path", "contract"), folder) if isinstance(stream, dict) else stream
            for name, stream in streams.items()
        }
    if isinstance(secrets := placed.get("secrets"), dict):
        placed["secrets"] = _placed_backends(secrets, folder)
    return placed


def _placed_end(section: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    placed = dict(section)
    if isinstance(connection := placed.get("connection"), dict):
        placed["connection"] = _with_paths(connection, path_keys(connection), folder)
    connector = placed.get("connector")
    if isinstance(connector, str) and (plugin := _PLUGIN_FILE.fullmatch(connector)):
        placed["connector"] = f"{absolute_path(plugin['file'], folder)}:{plugin['name']}"
    elif isinstance(connector, str) and connector.endswith(_MANIFEST_ENDINGS):
        placed["connector"] = absolute_path(connector, folder)
    return placed


def _placed_backends(backends: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: _with_paths(config, ("directory",), folder) if isinstance(config, dict) else config
        for name, config in backends.items()
    }


def _with_paths(section: Mapping[str, Any], keys: tuple[str, ...], folder: Path) -> dict[str, Any]:
    def placed(value: object) -> object:
        if isinstance(value, list):
            return [placed(item) for item in value]
        return absolute_path(value, folder) if isinstance(value, str) else value

    return {key: placed(value) if key in keys else value for key, value in section.items()}


def _as_invalid(described: ConfigurationError, original: InvalidConfigError) -> InvalidConfigError:
    """Keep the original's code and facts beside the positions."""
    details = {**original.details, **described.details}
    return type(original)(
        described.message, original.error_code, details, original.retryable, hint=described.hint or original.hint
    )
