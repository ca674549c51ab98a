"""Tables of the parquet target in buckets: unique names, and one conditional creation that decides each commit.

```
<prefix>/<namespace>/<table>/                   <run_id>-<n>.parquet: uploaded under their own names, found by manifest
                            /_manifests/        00000000000000000001.json, ...: created with ``If-None-Match: *``
                            /_runs/             <token>.run: which stream a run writes, and since which generation
```

There is no lock in a bucket that the death of its holder would open, so nothing tells whether a run is alive. What is
known for certain is when it can no longer commit: once its stream has a later generation than the run began with, the
run is fenced, and its next manifest's number is taken. From then on its files are removed, by whoever comes by.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dativo_ingest.targets import parquet_manifest
from dativo_ingest.targets.parquet_manifest import Manifest
from dativo_ingest.targets.parquet_storage import (
    MANIFESTS,
    QUARANTINE,
    DataFolder,
    Lake,
    Run,
    Sink,
    TableStorage,
    is_of,
)
from dativo_ingest.targets.s3_store import PAGE, UPLOAD_BYTES, Bucket, LostAnswerError, translated
from dativo_plugin_sdk import (
    Check,
    CommitStateUnknownError,
    ConnectionTestResult,
    DataFormatError,
    DativoError,
    InvalidConfigError,
    ResourceNotFoundError,
    ResourceUnavailableError,
)

if TYPE_CHECKING:
    from obstore import WritableFile
    from pyarrow.fs import FileSystem

_RUNS = "_runs"
_MARK = ".run"
_NAME = re.compile(r"(?P<number>\d{20})\.json")
_STREAM_BYTES = 1 << 20
_READS_AT_ONCE = 16
_TRIES = 4
_TRY_AGAIN_S = 0.5


class S3Lake(Lake):
    """A bucket, or a prefix in it."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    def table(self, names: Sequence[str]) -> S3Table:
        """Give the table's prefix, below which nothing is made."""
        return S3Table(self._bucket, _join(self._prefix, *names))

    def checks(self) -> Sequence[Check]:
        """Two steps: the service can be reached, and it lets these keys list this bucket."""
        return [Check("endpoint", self._check_endpoint), Check("bucket", self._check_bucket)]

    def look(self, names: Sequence[str]) -> None:
        """Nothing can stand in the way: a bucket has no folders."""

    def probe(self, tables: Iterable[Sequence[str]]) -> ConnectionTestResult:
        """Create an object, create it again, which must be refused, read it and remove it."""
        places = sorted({self._prefix, *(_join(self._prefix, *names) for names in tables)})
        for place in places:
            key = _join(place, f"dativo-probe-{secrets.token_hex(8)}")
            try:
                require_create_once(self._bucket, key)
            finally:
                self._bucket.remove([key])
        return ConnectionTestResult(
            success=True,
            message="an object was created once, refused a second time, and is gone",
            details={"places": [self._bucket.where(place) for place in places]},
        )

    def _check_endpoint(self) -> ConnectionTestResult:
        said = self._bucket.service.reach()
        host, port = self._bucket.service.address()
        return ConnectionTestResult(success=True, message=said, details={"host": host, "port": port})

    def _check_bucket(self) -> ConnectionTestResult:
        self._bucket.page(self._prefix)
        where = self._bucket.where(self._prefix)
        return ConnectionTestResult(success=True, message=f"{where} can be listed", details={"path": where})


class S3Table(TableStorage):
    """One table's prefix, and its rejected rows' beside it."""

    data: S3Folder
    rejects: S3Folder

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.where = bucket.where(key)
        self._bucket = bucket
        self._key = key
        self._seen = 0
        self.data = S3Folder(bucket, key)
        self.rejects = S3Folder(bucket, f"{key}{QUARANTINE}")

    def numbers(self) -> list[int]:
        """List every manifest."""
        return [number for key in self._bucket.keys(f"{self._key}/{MANIFESTS}") if (number := _number(key))]

    def newest(self) -> int:
        """Find the greatest number in a few listings."""
        folder = f"{self._key}/{MANIFESTS}"

        def page(after: int) -> list[int]:
            keys = self._bucket.page(folder, after=self._manifest(after))
            return [number for key in keys if (number := _number(key))]

        self._seen = greatest(page, self._seen)
        return self._seen

    def read(self, number: int) -> str:
        """Read the manifest's object."""
        key = self._manifest(number)
        data = self._bucket.read(key)
        if data is None:
            raise ResourceNotFoundError(
                f"{self._bucket.where(key)} is gone", hint="somebody else removed it while the run used it"
            )
        return data.decode(errors="replace")

    def read_many(self, numbers: Sequence[int]) -> Iterator[str]:
        """Ask for many objects at once: the way to the service takes longer than reading."""
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            yield from pool.map(self.read, numbers)

    def create(self, number: int, text: str, token: str, is_ours: Callable[[str], bool]) -> bool:  # noqa: ARG002  an object needs no draft
        """Create the object, and find out what became of a try that got no answer.

        Raises:
            CommitStateUnknownError: No answer came, again and again, and reading did not tell.
            DativoError: Every try was refused.
        """
        key = self._manifest(number)
        try:
            return _create(self._bucket, key, text.encode(), lambda data: is_ours(data.decode(errors="replace")))
        except LostAnswerError as lost:
            raise CommitStateUnknownError(
                f"{lost.failure}; the manifest is not there, and may still arrive",
                details={"path": self._bucket.where(key)},
                hint="when the service is well again, the next run goes on from what is there",
            ) from lost

    def replace(self, number: int, text: str, token: str) -> None:  # noqa: ARG002  an object needs no draft
        """Write over the object."""
        self._bucket.replace(self._manifest(number), text.encode())

    def begin(self, run_id: str, state_key: str) -> S3Run:
        """Create a mark named by the token, which also proves that the service creates an object only once."""
        generation = parquet_manifest.latest(self).state(state_key).generation
        mark = {"version": 1, "run_id": run_id, "state_key": state_key, "generation": generation}
        for number in count(1):
            token = run_id if number == 1 else f"{run_id}.{number}"
            run = S3Run(self._bucket, f"{self._key}/{_RUNS}/{token}{_MARK}", token, generation)
            if not run.mark(mark):
                continue
            manifest = parquet_manifest.latest(self)  # read under the mark: nobody else can add files of this token
            if not any(is_of(_name(file.path), token) for file in (*manifest.files, *manifest.quarantine)):
                return run
            run.release()
        raise AssertionError  # there is always one more number

    def sweep(self) -> None:
        """Remove the files of runs whose stream has moved on, all but those that the newest manifest lists."""
        marks = list(self._bucket.keys(f"{self._key}/{_RUNS}"))
        manifest = parquet_manifest.latest(self) if marks else Manifest()
        dead = [key for key in marks if self._is_fenced(key, manifest)]
        tokens = [_name(key).removesuffix(_MARK) for key in dead]
        if not tokens:
            return
        for folder, files in ((self.data, manifest.files), (self.rejects, manifest.quarantine)):
            live = {file.path for file in files}
            folder.remove([path for path in folder.paths() if path not in live and _is_of_any(path, tokens)])
        self._bucket.remove(dead)

    def stranger(self) -> str | None:
        """List the prefix."""
        if self.newest():
            return None
        tokens = [_name(key).removesuffix(_MARK) for key in self._bucket.keys(f"{self._key}/{_RUNS}")]
        for path in self.data.paths():
            if path.endswith(".parquet") and not _is_of_any(path, tokens):
                return f"{self.where}/{path}"
        return None

    def settle(self) -> None:
        """Nothing is left to do: what a bucket has answered for is durable."""

    def _manifest(self, number: int) -> str:
        return f"{self._key}/{MANIFESTS}/{number:020d}.json"

    def _is_fenced(self, mark: str, manifest: Manifest) -> bool:
        """Say whether the run of a mark can never commit again; one that is just ending is left to itself."""
        data = self._bucket.read(mark)
        if data is None:
            return False
        try:
            content = json.loads(data)
            return manifest.state(content["state_key"]).generation > int(content["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataFormatError(
                f"{self._bucket.where(mark)}: not a mark of a Dativo run: {error}", hint="remove this object"
            ) from error


class S3Run(Run):
    """A run's mark in the table's prefix."""

    def __init__(self, bucket: Bucket, key: str, token: str, generation: int) -> None:
        self.token = token
        self.most_generation = generation
        self._bucket = bucket
        self._key = key
        self._held = False

    def mark(self, content: dict[str, Any]) -> bool:
        """Create the mark; say whether the token was free.

        Raises:
            InvalidConfigError: The service creates an object that is there.
        """
        self._held = require_create_once(self._bucket, self._key, content)
        return self._held

    def release(self, *, keep_mark: bool = False) -> None:
        """Remove the mark."""
        if self._held and not keep_mark:
            self._bucket.remove([self._key])
        self._held = False


class S3Folder(DataFolder):
    """A prefix of data files: they have their own names from the start, and are there once they are whole."""

    most_held_bytes = UPLOAD_BYTES

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key

    def start(self, path: str) -> Sink:
        """Begin an upload in parts."""
        return _Upload(self._bucket.upload(f"{self._key}/{path}"))

    def publish(self, paths: Sequence[str]) -> None:
        """Nothing is left to do: the manifest alone says what readers are to find."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove the objects."""
        self._bucket.remove([f"{self._key}/{path}" for path in paths])

    def arrow(self) -> tuple[FileSystem, str]:
        """Give the bucket and the prefix as Arrow writes them."""
        return self._bucket.service.arrow(), f"{self._bucket.name}/{self._key}"

    def translated(self, path: str) -> AbstractContextManager[None]:
        """Name the object's full address."""
        return translated(self._bucket.where(f"{self._key}/{path}"))

    def paths(self) -> Iterable[str]:
        """List every object below the prefix."""
        return (key.removeprefix(f"{self._key}/") for key in self._bucket.keys(self._key))


class _Upload(Sink):
    """An object that is sent in parts while it is written; at most `UPLOAD_BYTES` of it are held."""

    def __init__(self, writer: WritableFile) -> None:
        self._parts = _Parts(writer)
        # Arrow writes a few bytes at a time, each of which would be a call into Python.
        self.stream = pa.BufferedOutputStream(pa.PythonFile(self._parts, mode="w"), _STREAM_BYTES)  # type: ignore[arg-type]  # it asks for no more

    def close(self) -> int:
        size_bytes = int(self.stream.tell())
        self.stream.flush()
        if self._parts.writer is not None:
            self._parts.writer.close()
            self._parts.writer = None
        return size_bytes

    def abandon(self) -> None:
        writer, self._parts.writer = self._parts.writer, None
        if writer is not None:
            from obstore.exceptions import BaseError  # noqa: PLC0415

            with contextlib.suppress(BaseError, OSError):  # the service may be gone: the parts are then left to it
                writer.__exit__(InterruptedError, InterruptedError("the run was given up"), None)


class _Parts:
    """The file that Arrow writes to and closes as it likes; whether the object is made is decided elsewhere."""

    closed = False

    def __init__(self, writer: WritableFile) -> None:
        self.writer: WritableFile | None = writer

    def write(self, data: pa.Buffer) -> int:
        if self.writer is not None:
            self.writer.write(data)
        return len(data)

    def flush(self) -> None:
        """Parts are sent when they are full."""

    def close(self) -> None:
        """The object is made by `_Upload.close`."""


def require_create_once(bucket: Bucket, key: str, content: dict[str, Any] | None = None) -> bool:
    """Create an object, and see that the service refuses to create it again; say whether it was not there before.

    Raises:
        InvalidConfigError: It does not refuse: two runs could both commit, each over the other.
    """
    first, second = (json.dumps({**(content or {}), "id": secrets.token_hex(8)}).encode() for _ in range(2))
    try:
        if not _create(bucket, key, first, lambda data: data == first):
            return False
        if not _create(bucket, key, second, lambda data: data == second):
            return True
    except LostAnswerError as lost:
        raise lost.failure from lost
    bucket.remove([key])
    raise InvalidConfigError(
        f"{bucket.where(key)}: the service created this object twice: it does not heed If-None-Match, by which commits "
        "to a bucket are decided",
        details={"path": bucket.where(key)},
        hint="use a service with conditional writes, as AWS S3, MinIO, R2 and SeaweedFS have them, or the iceberg "
        "target with a catalog",
    )


def greatest(page: Callable[[int], list[int]], low: int) -> int:
    """Find the greatest of many numbers, most of which are there, without listing them all.

    Args:
        page: Gives the next numbers after one, in order; fewer than `PAGE` are all there are.
        low: A number that is one of them, or 0.
    """
    stride = 0
    while True:
        found = page(low + stride)
        if found:
            low = found[-1]
            if len(found) < PAGE:
                return low
            stride = max(2 * stride, PAGE)
        elif stride:
            stride = stride // 2 if stride > PAGE else 0
        else:
            return low


def _create(bucket: Bucket, key: str, data: bytes, is_ours: Callable[[bytes], bool]) -> bool:
    """Create an object; say whether the one that is there is ours.

    A try that got no answer may be done already, or later still. To try again is safe, as the service creates the
    object once and each try would create the same; what is there tells whose it is.

    Raises:
        LostAnswerError: A try got no answer, and none after it told what became of it.
        DativoError: Every try was refused.
    """
    lost: LostAnswerError | None = None
    refused: DativoError | None = None
    for number in range(_TRIES):
        if number:
            time.sleep(_TRY_AGAIN_S * 2 ** (number - 1))
        try:
            if bucket.create(key, data):
                return True
            lost = lost or LostAnswerError(ResourceUnavailableError(f"{bucket.where(key)} is there and cannot be read"))
        except LostAnswerError as again:
            lost = again
        except DativoError as failure:
            if lost is None and not failure.retryable:
                raise
            refused = failure
        if lost is not None and (there := _peek(bucket, key)) is not None:
            return is_ours(there)
    assert lost is not None or refused is not None  # noqa: S101  a try that was not done was one of the two
    raise lost or refused  # type: ignore[misc]  # mypy does not see what was asserted


def _peek(bucket: Bucket, key: str) -> bytes | None:
    """Read an object, if it is there and the service gives it."""
    try:
        return bucket.read(key)
    except DativoError:
        return None


def _is_of_any(path: str, tokens: Sequence[str]) -> bool:
    return any(is_of(_name(path), token) for token in tokens)


def _number(key: str) -> int:
    match = _NAME.fullmatch(_name(key))
    return int(match["number"]) if match else 0


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
