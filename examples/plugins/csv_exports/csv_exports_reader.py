"""A reader that yields Arrow record batches: CSV exports that a web server offers, a file a day.

``python csv_exports_reader.py`` serves ``../../data/exports`` on the loopback interface and reads it twice.
``../../jobs/exports_to_parquet.yaml`` is a job that uses it. Copy it where the source gives files or columns: pyarrow
parses them, and no row becomes a Python object. Memory is bounded by the block, not by the file.
"""

from __future__ import annotations

import http.client
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.csv
from pydantic import Field

from dativo_plugin_sdk import (
    BaseReader,
    Capability,
    ConfigurationError,
    ConnectionTestResult,
    DataFormatError,
    DataNotFoundError,
    DativoError,
    DiscoveryResult,
    IncrementalStateManager,
    NetworkError,
    PluginConfig,
    RateLimitError,
    ServiceUnavailableError,
    SourceConfig,
    parse,
)


class Connection(PluginConfig):
    """What stands under ``source.connection``."""

    base_url: str = Field(pattern=r"^https?://")
    """Where ``index.json`` lies: ``{"orders": ["orders-2026-01-01.csv", ...]}``, the files in the order of time."""
    timeout_s: float = Field(default=30.0, gt=0)


class Options(PluginConfig):
    """What stands under ``source.options``."""

    block_bytes: int = Field(default=2**18, ge=2**10)
    """How much is parsed at once; pyarrow reads some dozen blocks ahead."""


class CSVExportsReader(BaseReader):
    """Reads the exports of each day once; a new day is a new file, and an old file does not change."""

    __version__ = "1.0.0"
    requires_sdk = ">=0.1,<1"
    capabilities = frozenset({Capability.INCREMENTAL})

    def __init__(self, source_config: SourceConfig) -> None:
        super().__init__(source_config)
        self._connection = parse(Connection, source_config.connection, where="source.connection")
        self._options = parse(Options, source_config.options, where="source.options")

    def check_connection(self) -> ConnectionTestResult:
        """Read the index."""
        try:
            index = self._index()
        except DativoError as error:
            return ConnectionTestResult(
                success=False, message=error.message, error_code=error.error_code, details=error.details
            )
        return ConnectionTestResult(success=True, message=f"{len(index)} exports are there")

    def discover(self) -> DiscoveryResult:
        """List the exports, with the columns of the newest file of each."""
        return DiscoveryResult([self._described(name, files) for name, files in self._index().items()])

    def extract(self, state_manager: IncrementalStateManager | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the batches of each file that is not read yet."""
        state = state_manager or IncrementalStateManager()
        index = self._index()
        for name in self.source_config.objects:
            if name not in index:
                raise DataNotFoundError(f"there is no export {name}; there is: {', '.join(sorted(index))}")
            last = state.get(name, "")
            for file in index[name]:
                if file > last:
                    yield from self._batches(file)
                    state.set(name, file)  # true once the batches above are committed

    def _index(self) -> dict[str, list[str]]:
        with self._opened("index.json") as body:
            try:
                index = json.load(body)
                return {str(name): sorted(map(str, files)) for name, files in index.items()}
            except (ValueError, AttributeError, TypeError) as error:
                raise DataFormatError("index.json is no JSON object of lists", hint='{"orders": ["a.csv"]}') from error

    def _described(self, name: str, files: list[str]) -> dict[str, Any]:
        columns = []
        if files:
            with self._opened(files[-1]) as body, _parsed(files[-1], body, self._options.block_bytes) as reader:
                columns = [{"name": field.name, "arrow_type": str(field.type)} for field in reader.schema]
        return {"name": name, "type": "file", "columns": columns, "sync_modes": ["full_refresh", "incremental"]}

    def _batches(self, file: str) -> Iterator[pa.RecordBatch]:
        with self._opened(file) as body, _parsed(file, body, self._options.block_bytes) as reader:
            yield from reader

    @contextmanager
    def _opened(self, file: str) -> Iterator[io.RawIOBase]:
        url = f"{self._connection.base_url.rstrip('/')}/{quote(file)}"
        try:
            with urllib.request.urlopen(url, timeout=self._connection.timeout_s) as response:  # noqa: S310  http, https
                yield _Body(response, url)
        except urllib.error.HTTPError as error:
            with error:
                raise _error_of(error, url) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, DativoError):
                raise
            raise NetworkError(f"{url} cannot be read: {getattr(error, 'reason', error)}") from error


class _Body(io.RawIOBase):
    """An answer's body, as pyarrow reads it; one that ends too early is an error, not the end of the file."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._response.readinto(buffer)
        if not count and self._response.length:
            raise NetworkError(f"{self._url} ended {self._response.length} bytes too early")
        return count


@contextmanager
def _parsed(file: str, body: io.RawIOBase, block_bytes: int) -> Iterator[pa.csv.CSVStreamingReader]:
    """Parse as the bytes come; types are those of the first block."""
    options = pa.csv.ReadOptions(block_size=block_bytes, use_threads=False)
    try:
        with pa.csv.open_csv(body, read_options=options) as reader:
            yield reader
    except pa.ArrowInvalid as error:
        raise DataFormatError(f"{file} is no CSV: {error}") from error


def _error_of(error: urllib.error.HTTPError, url: str) -> DativoError:
    answer = f"{url} answered {error.code}"
    match error.code:
        case 404:
            return DataNotFoundError(answer, hint="check source.connection.base_url")
        case 429:
            wait_s = error.headers.get("Retry-After", "")
            return RateLimitError(answer, retry_after_s=float(wait_s) if wait_s.isdecimal() else None)
        case code if code >= 500:  # noqa: PLR2004  RFC 9110, section 15.6: the server's fault
            return ServiceUnavailableError(answer)
    return ConfigurationError(answer, hint="check source.connection.base_url")


def main() -> None:
    """Serve the sample exports as long as this function runs, and read them twice."""
    from functools import partial  # noqa: PLC0415  only this demonstration needs these
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415
    from threading import Thread  # noqa: PLC0415

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep the terminal for the reader."""

    folder = Path(__file__).parents[2] / "data" / "exports"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        config = SourceConfig(type="csv_exports", connection={"base_url": url}, objects=["orders"])
        reader = CSVExportsReader(config)
        print("check:   ", reader.check_connection().message)
        for item in reader.discover().objects:
            print("discover:", item["name"], "with", ", ".join(column["name"] for column in item["columns"]))
        state = IncrementalStateManager()
        for batch in reader.extract(state):
            print("extract: ", batch.num_rows, "rows in a", type(batch).__name__)
        print("extract: ", len(list(reader.extract(state))), "batches, second time: nothing is new")
        server.shutdown()


if __name__ == "__main__":
    main()
