"""A reader of a paged REST API: copy it, and change the four methods that know the API.

``python json_api_reader.py`` starts a small API on the loopback interface, then checks, discovers and reads it.
``../jobs/api_to_jsonl.yaml`` is a job that uses it. Only the standard library and dativo-plugin-sdk are needed.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

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
    InsufficientPermissionsError,
    InvalidCredentialsError,
    NetworkError,
    PluginConfig,
    RateLimitError,
    Secret,
    ServiceUnavailableError,
    SourceConfig,
    TimeoutError,
    is_retryable_error,
    parse,
)


class Connection(PluginConfig):
    """What stands under ``source.connection``."""

    base_url: str = Field(pattern=r"^https?://")
    timeout_s: float = Field(default=30.0, gt=0)


class Login(PluginConfig):
    """What stands under ``source.credentials``."""

    token: Secret


class Options(PluginConfig):
    """What stands under ``source.options``, and under a stream's own ``options``."""

    page_size: int = Field(default=100, ge=1, le=1000)
    max_attempts: int = Field(default=5, ge=1)
    backoff_s: float = Field(default=0.5, ge=0)
    """The wait before the second attempt; it doubles with each one, up to ``max_wait_s``."""
    max_wait_s: float = Field(default=60.0, ge=0)
    """The longest wait; when the API asks for more, the run ends and says when to come back."""


class JSONAPIReader(BaseReader):
    """Reads objects of an API that answers ``{"data": [...], "next_page": 2 | null}``."""

    __version__ = "1.0.0"
    requires_sdk = ">=0.1,<1"
    capabilities = frozenset({Capability.INCREMENTAL})

    def __init__(self, source_config: SourceConfig) -> None:
        super().__init__(source_config)
        self._connection = parse(Connection, source_config.connection, where="source.connection")
        self._login = parse(Login, source_config.credentials, where="source.credentials")
        self._options = parse(Options, source_config.options, where="source.options")
        self._opener = urllib.request.build_opener(_NoRedirect)

    # What knows this API.

    def check_connection(self) -> ConnectionTestResult:
        """Ask who we are: that needs the network and a good token, and reads no data."""
        try:
            account = self._get("account")
        except DativoError as error:
            return ConnectionTestResult(
                success=False, message=error.message, error_code=error.error_code, details=error.details
            )
        return ConnectionTestResult(success=True, message="API accessible", details=account)

    def discover(self) -> DiscoveryResult:
        """List the endpoints with their columns."""
        return DiscoveryResult(
            objects=[
                {
                    "name": item["name"],
                    "type": "endpoint",
                    "columns": item["columns"],
                    "estimated_rows": item["rows"],
                    "primary_key": ["id"],
                    "cursor_candidates": ["updated_at"],
                    "sync_modes": ["full_refresh", "incremental"],
                }
                for item in self._described
            ],
            metadata={"base_url": self._connection.base_url},
        )

    def extract(self, state_manager: IncrementalStateManager | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of each object, from where the state says."""
        state = state_manager or IncrementalStateManager()
        for name in self.source_config.objects:
            yield from self._pages(name, state)

    def get_total_records_estimate(self) -> int | None:
        """Add up what the API says of the objects asked for."""
        return sum(item["rows"] for item in self._described if item["name"] in self.source_config.objects)

    def _pages(self, name: str, state: IncrementalStateManager) -> Iterator[list[dict[str, Any]]]:
        """Yield pages of rows that changed since the last commit.

        ``updated_since`` includes its own second, since more rows may have changed in it after we looked. The state
        therefore also keeps the ids that were already read at that time, and they are left out.
        """
        seen = state.get(name) or {"updated_since": None, "ids": []}
        query: dict[str, Any] = {"page_size": self._options.page_size, "page": 1}
        if seen["updated_since"]:
            query["updated_since"] = seen["updated_since"]
        already_read = {(seen["updated_since"], row_id) for row_id in seen["ids"]}
        while query["page"] is not None:
            answer = self._get(quote(name, safe=""), query)
            if not isinstance(answer.get("data"), list):
                raise DataFormatError(f"{name}, page {query['page']}: the answer has no list called data")
            new = [row for row in answer["data"] if (row["updated_at"], row["id"]) not in already_read]
            query["page"] = answer.get("next_page")
            if new:
                yield new
                seen = _advance(seen, new)
                state.set(name, seen)

    # What any API needs: one request, its errors by name, and patience.

    @cached_property
    def _described(self) -> list[dict[str, Any]]:
        return list(self._get("objects")["objects"])

    def _get(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        """Get one document, waiting and trying again while that can help."""
        for attempt in range(1, self._options.max_attempts + 1):
            try:
                return self._get_once(path, query or {})
            except DativoError as error:
                wait_s = self._wait_s(attempt, error.retry_after_s)
                if not is_retryable_error(error) or attempt == self._options.max_attempts:
                    raise
                if wait_s > self._options.max_wait_s:
                    raise  # longer than a run should stand still: the exit code says "again", the report when
                time.sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return retry_after_s
        # Jitter keeps readers that failed together from coming back together.
        return min(self._options.backoff_s * 2.0 ** (attempt - 1), self._options.max_wait_s) * random.uniform(0.5, 1.0)  # noqa: S311

    def _get_once(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._connection.base_url.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(  # noqa: S310  Connection allows http and https only
            url,
            headers={
                "Authorization": f"Bearer {self._login.token.get_secret_value()}",
                "Accept": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=self._connection.timeout_s) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise _error_of(error, url) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, OSError) and "timed out" in str(reason):
                raise TimeoutError(f"{url} did not answer within {self._connection.timeout_s:g} s") from error
            raise NetworkError(f"{url} cannot be reached: {reason}") from error
        try:
            document = json.loads(body)
        except ValueError as error:
            raise DataFormatError(f"{url} did not answer with JSON: {body[:80]!r}") from error
        if not isinstance(document, dict):
            raise DataFormatError(f"{url} answered with a JSON {type(document).__name__}, expected an object")
        return document


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the token would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _error_of(error: urllib.error.HTTPError, url: str) -> DativoError:  # noqa: PLR0911  one per status
    """Name the failure by its status; the class decides whether trying again helps."""
    answer = f"{url} answered {error.code}"
    details = {"status": error.code}
    match error.code:
        case 401:
            return InvalidCredentialsError(
                f"{answer}: the API key is not valid", details=details, hint="check source.credentials.token"
            )
        case 403:
            return InsufficientPermissionsError(f"{answer}: the API key may not read this", details=details)
        case 404:
            return DataNotFoundError(f"{answer}: there is no such endpoint", details=details)
        case 408 | 504:
            return TimeoutError(answer, details=details)
        case 429:
            return RateLimitError(
                f"{answer}: too many requests", details=details, retry_after_s=_retry_after_s(error.headers)
            )
        case code if code >= 500:  # noqa: PLR2004  RFC 9110, section 15.6: the server's fault
            return ServiceUnavailableError(answer, details=details, retry_after_s=_retry_after_s(error.headers))
    return ConfigurationError(f"{answer} {error.reason}", details=details, hint="check source.connection.base_url")


def _retry_after_s(headers: Any) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds, or a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass  # then it is a date
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _advance(seen: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the state after ``rows``: the latest change, and every id that has it."""
    latest = max(row["updated_at"] for row in rows)
    kept = seen["ids"] if latest == seen["updated_since"] else []
    return {"updated_since": latest, "ids": [*kept, *(row["id"] for row in rows if row["updated_at"] == latest)]}


def main() -> None:
    """Check, discover and read an API that lives as long as this function."""
    from loopback_api import TOKEN, serve  # noqa: PLC0415  only this demonstration needs it

    with serve() as api:
        config = SourceConfig(
            type="json_api",
            connection={"base_url": api.url},
            credentials={"token": TOKEN},
            objects=["orders", "customers"],
        )
        reader = JSONAPIReader(config)
        print("check:   ", reader.check_connection().message)
        for item in reader.discover().objects:
            print("discover:", item["name"], "with", ", ".join(column["name"] for column in item["columns"]))
        state = IncrementalStateManager()
        rows = sum(len(page) for page in reader.extract(state))
        print(f"extract:  {rows} rows, first time")
        print(f"extract:  {sum(len(page) for page in reader.extract(state))} rows, second time: nothing has changed")


if __name__ == "__main__":
    main()
