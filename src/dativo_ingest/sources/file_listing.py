"""From a path, folder, glob or S3 address to the files it stands for, in order of their names."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow.fs as pafs

from dativo_ingest.sources.file_config import FileConnection, FileCredentials
from dativo_ingest.sources.file_errors import translated
from dativo_plugin_sdk import DataNotFoundError, InvalidConfigError

PACKED_SUFFIXES: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""The suffixes that say how a file is packed."""
_S3 = "s3://"
_MAGIC = re.compile(r"[*?\[]")
_Identity: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class SourceFile:
    """One file as a listing shows it; ``path`` is a local path or an ``s3://`` address, and its name everywhere."""

    path: str
    size_bytes: int
    mtime_ns: int | None

    @property
    def stem(self) -> str:
        """Give the file's name without folders and suffixes: ``orders`` of ``in/orders.csv.gz``."""
        name = without_packing(self.path.rpartition("/")[2])
        return os.path.splitext(name)[0] or name  # noqa: PTH122  an S3 key is no path


def without_packing(name: str) -> str:
    """Leave off the suffix that says how a file is packed."""
    root, suffix = os.path.splitext(name)  # noqa: PTH122  an S3 key is no path
    return root if suffix.lower() in PACKED_SUFFIXES else name


class FileStore:
    """Local files and S3 buckets behind one way to list and open."""

    def __init__(self, connection: FileConnection, credentials: FileCredentials) -> None:
        self._connection = connection
        self._credentials = credentials
        self._s3: pafs.FileSystem | None = None
        self._local = pafs.LocalFileSystem()

    def filesystem(self, path: str) -> tuple[pafs.FileSystem, str]:
        """Give the Arrow filesystem that holds ``path``, and the path as that filesystem writes it."""
        if path.startswith(_S3):
            if self._s3 is None:
                with translated(path):
                    self._s3 = self._connect_s3()
            return self._s3, path.removeprefix(_S3)
        return self._local, path

    def _connect_s3(self) -> pafs.FileSystem:
        endpoint, scheme = _split_endpoint(self._connection.endpoint)
        keys = self._credentials
        region = self._connection.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        try:
            return pafs.S3FileSystem(
                access_key=keys.access_key_id.get_secret_value() if keys.access_key_id else None,
                secret_key=keys.secret_access_key.get_secret_value() if keys.secret_access_key else None,
                session_token=keys.session_token.get_secret_value() if keys.session_token else None,
                anonymous=self._connection.anonymous,
                region=region or ("us-east-1" if endpoint else None),
                endpoint_override=endpoint,
                scheme=scheme,
                connect_timeout=10,
                request_timeout=60,
                retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=3),
            )
        except ValueError as error:
            raise InvalidConfigError(
                f"source.credentials: {error}", hint="give access_key_id and secret_access_key, or neither"
            ) from error

    def list(self, path: str, suffixes: Sequence[str]) -> list[SourceFile]:
        """Find the files that ``path`` stands for, sorted by path.

        A glob's ``*`` and ``?`` stay within a folder, ``**`` crosses folders; hidden files are matched only where the
        pattern says so. A folder stands for all files of these ``suffixes`` below it, packed ones included, but for
        hidden ones and those whose name or folder begins with ``_``.

        Raises:
            DataNotFoundError: Nothing matches.
            InsufficientPermissionsError: A folder on the way may not be listed.
        """
        scheme, separator, _ = path.partition("://")
        if separator and scheme != "s3":
            raise InvalidConfigError(f"{path}: files are read from local paths and s3:// addresses, not {scheme}://")
        with translated(path):
            found = sorted(
                self._list_s3(path, suffixes) if path.startswith(_S3) else _list_local(path, suffixes),
                key=lambda file: file.path,
            )
        if not found:
            raise DataNotFoundError(
                f"{path}: no file matches", details={"path": path, "suffixes": list(suffixes)}, hint=_why_none(path)
            )
        return found

    def look(self, path: str) -> SourceFile | None:
        """Look at one file again; None where it is gone."""
        filesystem, inner = self.filesystem(path)
        with translated(path):
            info = filesystem.get_file_info(inner)
        return _source_file(path, info) if info.type == pafs.FileType.File else None

    def etag(self, path: str) -> str | None:
        """Ask for the fingerprint that an object store keeps of a file; local files have none."""
        if not path.startswith(_S3):
            return None
        filesystem, inner = self.filesystem(path)
        with translated(path), filesystem.open_input_file(inner) as file:
            known: dict[Any, Any] = dict(file.metadata() or {})  # keys are text, which the stubs deny
        found = known.get("ETag")
        return found.decode().strip('"') if isinstance(found, bytes) else None

    def _list_s3(self, path: str, suffixes: Sequence[str]) -> Iterator[SourceFile]:
        filesystem, inner = self.filesystem(path)
        if not inner.strip("/") or _MAGIC.search(inner.partition("/")[0]):
            raise InvalidConfigError(f"{path}: a bucket's name must follow s3://, without wildcards")
        parts = inner.rstrip("/").split("/")
        if not _MAGIC.search(inner) and not path.endswith("/"):
            info = _head(filesystem, inner)
            if info.type == pafs.FileType.File:
                yield _source_file(path, info)
                return
        fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
        is_folder = fixed == len(parts)
        recursive = is_folder or fixed < len(parts) - 1 or parts[fixed] == "**"
        patterns = parts[fixed:]
        root = "/".join(parts[:fixed])
        try:
            infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=recursive))
        except FileNotFoundError:  # S3 has no folders: this says that no key begins so
            return
        for info in infos:
            below = info.path.removeprefix(f"{root}/")
            if info.type == pafs.FileType.File and (
                _is_data_file(below, suffixes) if is_folder else _matches(patterns, below.split("/"))
            ):
                yield _source_file(_S3 + info.path, info)


def _split_endpoint(endpoint: str | None) -> tuple[str | None, Literal["http", "https"]]:
    if endpoint is None or "://" not in endpoint:
        return endpoint, "https"
    scheme, _, host = endpoint.partition("://")
    if scheme not in ("http", "https"):
        raise InvalidConfigError(f"source.connection.endpoint: {scheme}:// is neither http:// nor https://")
    return host.rstrip("/"), "http" if scheme == "http" else "https"


def _head(filesystem: pafs.FileSystem, inner: str) -> pafs.FileInfo:
    """Ask for one object; where that is refused without a reason, a listing is asked for one.

    An answer to HEAD has no body (RFC 9110 9.3.2), so that S3 cannot say in it that the key is unknown.
    """
    try:
        return filesystem.get_file_info(inner)
    except OSError as error:
        if "ACCESS_DENIED" in str(error):
            filesystem.get_file_info(pafs.FileSelector(inner.partition("/")[0]))
        raise


def _source_file(path: str, info: pafs.FileInfo) -> SourceFile:
    return SourceFile(path=path, size_bytes=info.size or 0, mtime_ns=info.mtime_ns)


def _why_none(path: str) -> str:
    if path.startswith(_S3):
        return "check the bucket, the key and, for services other than AWS, source.connection.endpoint"
    parts = path.split("/")
    for length in range(len(parts), 0, -1):
        parent = "/".join(parts[:length]) or "/"
        if not _MAGIC.search(parent) and os.path.lexists(parent):
            kind = "folder" if os.path.isdir(parent) else "file"  # noqa: PTH112  paths are text here
            return f"the {kind} {parent} exists, what follows it does not match anything"
    return "no folder on this path exists"


def _is_data_file(below: str, suffixes: Sequence[str]) -> bool:
    """Say whether a file at ``below`` a folder is data of these suffixes."""
    parts = below.split("/")
    return not any(part.startswith((".", "_")) for part in parts) and has_suffix(parts[-1], suffixes)


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    """Say whether a file is of a format by its name, packed or not, in any case."""
    return without_packing(name.lower()).endswith(tuple(suffixes))


def _matches(patterns: Sequence[str], parts: Sequence[str]) -> bool:
    """Say whether a path fits a glob, both cut at their slashes."""
    if not patterns:
        return not parts
    first, rest = patterns[0], patterns[1:]
    if first == "**":
        if not rest:
            return bool(parts) and not any(_is_left_out(part) for part in parts)
        return any(
            _matches(rest, parts[at:]) and not any(_is_left_out(part) for part in parts[:at])
            for at in range(len(parts))
        )
    return bool(parts) and _fits(first, parts[0]) and _matches(rest, parts[1:])


def _fits(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def _is_left_out(name: str) -> bool:
    return name.startswith((".", "_"))


def _list_local(path: str, suffixes: Sequence[str]) -> Iterator[SourceFile]:
    status = _stat(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        yield from _walk(path.rstrip("/") or "/", ["**"], suffixes, frozenset())
    elif status is not None:
        yield _local_file(path, status)
    elif _MAGIC.search(path):
        root, *patterns = path.split("/")
        while not _MAGIC.search(patterns[0]):
            root = f"{root}/{patterns.pop(0)}"
        if _stat(root or "/") is not None:
            yield from _walk(root, patterns, None, frozenset())


def _walk(
    folder: str, patterns: Sequence[str], suffixes: Sequence[str] | None, above: frozenset[_Identity]
) -> Iterator[SourceFile]:
    """Yield the files below a folder that fit; ``above`` are the folders gone through, for links that lead back."""
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**" and rest:
        yield from _walk(folder, rest, suffixes, above)  # ** may stand for no folder at all
    with os.scandir(folder or "/") as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder != "/" else f"/{entry.name}"
            fits = not _is_left_out(entry.name) if pattern == "**" else _fits(pattern, entry.name)
            if not fits:
                continue
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode):
                identity = (status.st_dev, status.st_ino)
                if identity in above:
                    continue
                deeper = patterns if pattern == "**" else rest
                if deeper:
                    yield from _walk(path, deeper, suffixes, above | {identity})
            elif not rest and stat.S_ISREG(status.st_mode) and (suffixes is None or has_suffix(entry.name, suffixes)):
                yield _local_file(path, status)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  paths are text here
    except (FileNotFoundError, NotADirectoryError):
        return None


def _local_file(path: str, status: os.stat_result) -> SourceFile:
    return SourceFile(path=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
