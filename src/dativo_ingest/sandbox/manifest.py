"""What a plugin says of itself and asks for: ``dativo-plugin.yaml``.

It stands beside a plugin's file, or within a wheel: in the package of the entry point, or in its dist-info folder. It
is found and read without importing anything of the plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from dativo_ingest.job.durations import PATTERN, Duration
from dativo_ingest.job.files import MANIFEST_NAME, read_file
from dativo_ingest.job.job_model import JobModel
from dativo_ingest.job.model import NAME_PATTERN
from dativo_ingest.job.sizes import Size
from dativo_ingest.sandbox.hosts import AskedHost
from dativo_ingest.sandbox.written import WrittenModel, read_written
from dativo_plugin_sdk.config import list_of_one
from dativo_plugin_sdk.errors import PluginLoadError

Kind: TypeAlias = Literal["reader", "writer"]

_FILE_CLASS = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_]\w*)")
_MODULE_CLASS = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_PATH_KEY = re.compile(r"config:(?:connection|options)(?:\.[A-Za-z_]\w*)+")
_SECRET = re.compile(r"[A-Za-z_][\w.-]*\??")


def _version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is no version (PEP 440), such as 1.4.0") from error
    return text


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} says no versions (PEP 440), such as >=1.0,<2") from error
    return text


def _path(text: str) -> str:
    if text.startswith("config:"):
        if not _PATH_KEY.fullmatch(text):
            raise ValueError(f"{text!r} is no place in a job's configuration; write config:connection.path")
    elif not text or "\0" in text or text.startswith("~"):
        raise ValueError(
            f"{text!r} is no path; write an absolute one, one from the manifest's folder on, or config:connection.path"
        )
    return text


def _secret(text: str) -> str:
    if not _SECRET.fullmatch(text):
        raise ValueError(f"{text!r} is no key of credentials; write api_key, or api_key? where a job may leave it out")
    return text


def _entry(text: str) -> str:
    found = _FILE_CLASS.fullmatch(text)
    if found:
        path = Path(found["file"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{text!r} is not within the manifest's folder")
    elif not _MODULE_CLASS.fullmatch(text):
        raise ValueError(f"{text!r} names no class; write file.py:Class, package.module:Class or {{command: [...]}}")
    return text


def _with_unit(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("write a number and a unit: 30s, 5m, 24h")  # noqa: TRY004  pydantic's own
    return value


Time: TypeAlias = Annotated[
    Duration,
    Field(gt=timedelta(0)),
    BeforeValidator(_with_unit),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
"""How long something may take."""


class Command(JobModel):
    """A plugin that is a program of its own, in any language."""

    command: Annotated[
        list[str], Field(min_length=1), BeforeValidator(list_of_one, json_schema_input_type=str | list[str])
    ] = Field(
        description="The program and its arguments. A program with a `/` in it is one from the manifest's folder on; "
        "any other is looked for in `PATH`."
    )


_TAG = "function-"  # what begins so is no part of where a problem is

Entry: TypeAlias = Annotated[
    Annotated[Annotated[str, AfterValidator(_entry)], Tag(f"{_TAG}class")] | Annotated[Command, Tag(f"{_TAG}command")],
    Discriminator(lambda value: f"{_TAG}class" if isinstance(value, str) else f"{_TAG}command"),
]
"""Where a plugin's code is."""


class EntryPoint(JobModel):
    """Where the code is: `file.py:Class` beside the manifest, `package.module:Class`, or `{command: [...]}`."""

    reader: Entry | None = Field(default=None, description="The reader, if there is one.")
    writer: Entry | None = Field(default=None, description="The writer, if there is one.")


Paths: TypeAlias = Annotated[
    list[Annotated[str, AfterValidator(_path)]],
    BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
]


class Filesystem(JobModel):
    """Files and folders beyond the plugin's own folder, which it may read, and a temporary folder of its own."""

    read: Paths = Field(
        default_factory=list,
        description="What it reads: an absolute path, one from the manifest's folder on, or `config:connection.path`, "
        "taken from the job; of a glob, the folder before the first star. A folder is everything in it.",
    )
    write: Paths = Field(default_factory=list, description="What it writes, said in the same ways.")


class Capabilities(JobModel):
    """What the plugin needs to reach. What is not listed it does not get."""

    network: Annotated[list[AskedHost], BeforeValidator(list_of_one, json_schema_input_type=str | list[str])] = Field(
        default_factory=list,
        description="Hosts, each with a port: `api.stripe.com:443`; `*.stripe.com:443` is every host with one label "
        "more. `config:connection.host` is taken from the job: with the port that stands there, or that of its URL, or "
        "the one that is said (`config:connection.host:5432`, `config:connection.host:connection.port`).",
    )
    filesystem: Filesystem = Field(default_factory=Filesystem, description="Files and folders.")
    secrets: Annotated[
        list[Annotated[str, AfterValidator(_secret)]],
        BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
    ] = Field(
        default_factory=list,
        description="The keys of the job's `credentials` that it gets, by name; `token?` is one that a job may leave "
        "out.",
    )
    subprocess: bool = Field(default=False, description="Whether it starts other programs.")


class Resources(JobModel):
    """How much of the machine it needs. What is left out is the default."""

    memory: Size | None = Field(default=None, description="Memory of all its processes together: `512Mi`, `2Gi`.")
    cpu: float | None = Field(default=None, gt=0, le=1024, description="Processors: `1.0`, `0.5`.")
    pids: int | None = Field(default=None, ge=1, le=2**20, description="Processes and threads at once.")
    wall: Time | None = Field(default=None, description="How long one of its processes may run: `30m`, `24h`.")
    tmp: Size | None = Field(default=None, description="Files in its temporary folder: `256Mi`.")
    log: Size | None = Field(
        default=None, description="What a process may print and log: `16Mi`. One that prints more is ended."
    )
    upload: Size | None = Field(default=None, description="What a process may send to its hosts, all together: `1Gi`.")
    download: Size | None = Field(default=None, description="What a process may be sent by its hosts: `1Ti`.")
    connections: int | None = Field(default=None, ge=1, le=2**16, description="Connections of a process at once: `64`.")


class Deadlines(JobModel):
    """How long it may take to answer. What is left out is the default."""

    start: Time | None = Field(default=None, description="From its start to its first word: `60s`.")
    check: Time | None = Field(default=None, description="A step of a check: `2m`.")
    discover: Time | None = Field(default=None, description="Finding out what there is: `10m`.")
    idle: Time | None = Field(default=None, description="Between two signs of life, whatever it does: `15m`.")


class Manifest(WrittenModel):
    """A plugin's manifest. `load_manifest` makes it."""

    api: Literal[1] = Field(description="The version of the manifest's format: 1.")
    name: str = Field(pattern=NAME_PATTERN, max_length=200, description="What the plugin is called.")
    version: Annotated[str, AfterValidator(_version)] = Field(description="The plugin's version (PEP 440).")
    description: str | None = Field(default=None, description="What it is for, in a sentence.")
    requires_sdk: Annotated[str, AfterValidator(_specifier)] | None = Field(
        default=None, description="The releases of `dativo-plugin-sdk` that it works with (PEP 440): `>=0.1,<1`."
    )
    entrypoint: EntryPoint = Field(
        default_factory=EntryPoint,
        description="Where its code is. A wheel that registers it under `dativo.readers` or `dativo.writers` need not "
        "say, nor a plugin that jobs name by `file.py:Class`.",
    )
    capabilities: Capabilities = Field(default_factory=Capabilities, description="What it needs to reach.")
    resources: Resources = Field(default_factory=Resources, description="How much of the machine it needs.")
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long it may take to answer.")
    state_version: int = Field(default=1, ge=1, description="The version of the state that it writes.")
    config_version: int = Field(default=1, ge=1, description="The version of the configuration that it reads.")

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return self.path.parent

    def entry(self, kind: Kind) -> str | tuple[str, ...] | None:
        """Give where the code of a reader or writer is: a class as it is written, or a command to run."""
        written = self.entrypoint.reader if kind == "reader" else self.entrypoint.writer
        if not isinstance(written, Command):
            return written
        program, *arguments = written.command
        return (str(self.folder / program) if "/" in program else program, *arguments)

    def is_of(self, kind: Kind, file: Path, class_name: str) -> bool:
        """Say whether it speaks for a class in a file beside it: it names that class, or none of the kind."""
        written = self.entry(kind)
        if written is None:
            return self.entrypoint.reader is None and self.entrypoint.writer is None
        if not isinstance(written, str) or not (found := _FILE_CLASS.fullmatch(written)):
            return False
        return found["name"] == class_name and (self.folder / found["file"]).resolve() == file.resolve()


def read_manifest(raw: bytes, path: Path) -> Manifest:
    """Parse a manifest.

    Args:
        raw: The file's bytes.
        path: The file, for messages, and for the paths that are relative to its folder.

    Raises:
        InvalidConfigError: Something is wrong with it. The message has a line for each problem:
            ``dativo-plugin.yaml:6:3 capabilities.netwrok: unknown key, did you mean network``.
    """
    return read_written(Manifest, raw, path, hint_if_empty="a manifest has at least api, name and version")


def load_manifest(path: Path) -> Manifest:
    """Read a manifest's file.

    Raises:
        ConfigurationError: It is missing, may not be read, or something is wrong with it.
    """
    raw = read_file(path, what="manifest", hint_if_missing=f"a plugin's folder has its {MANIFEST_NAME}")
    return read_manifest(raw, path)


def manifest_beside(kind: Kind, file: Path, class_name: str) -> Manifest | None:
    """Find the manifest of a plugin's file: in the file's folder, where it names this class or no other.

    Raises:
        ConfigurationError: There is one, and it may not be read or something is wrong with it.
    """
    path = file.parent / MANIFEST_NAME
    if not path.exists():
        return None
    manifest = load_manifest(path)
    return manifest if manifest.is_of(kind, file, class_name) else None


def manifest_of(distribution: Distribution, module: str) -> Manifest | None:
    """Find the manifest of an installed plugin, without importing anything of it.

    It is looked for in the package of the module, in the packages around that one, and in the dist-info folder.

    Args:
        distribution: What is installed.
        module: The module that the entry point names: ``stripe_reader.reader``.

    Raises:
        ConfigurationError: There is one, and it may not be read or something is wrong with it.
        PluginLoadError: The dist-info folder has several.
    """
    for path in (*_in_packages(distribution, module), *_in_metadata(distribution)):
        if path.is_file():
            return load_manifest(path)
    return None


def _in_packages(distribution: Distribution, module: str) -> Iterator[Path]:
    """Give where a manifest may be within packages, nearest first."""
    names = module.split(".")
    written = {str(each) for each in distribution.files or ()}
    for end in range(len(names), 0, -1):
        name = "/".join((*names[:end], MANIFEST_NAME))
        if name in written:
            yield Path(str(distribution.locate_file(name)))
    # What is installed for editing lists none of its files. Looking for a top-level package imports nothing.
    spec = find_spec(names[0]) if f"{names[0]}/__init__.py" not in written else None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for end in range(len(names), 0, -1):
            yield Path(folder, *names[1:end], MANIFEST_NAME)


def _in_metadata(distribution: Distribution) -> Iterator[Path]:
    found = [
        each
        for each in distribution.files or ()
        if each.name == MANIFEST_NAME and each.parts[0].endswith((".dist-info", ".egg-info"))
    ]
    if len(found) > 1:
        raise PluginLoadError(
            f"{distribution.metadata['Name']} has {len(found)} files {MANIFEST_NAME} beside its metadata",
            hint=f"put each {MANIFEST_NAME} into the package that it speaks for",
        )
    for each in found:
        yield Path(str(distribution.locate_file(each)))
