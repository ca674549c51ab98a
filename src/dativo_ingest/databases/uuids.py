"""Uuids of version 7, which begin with the milliseconds since 1970 at which they were made; RFC 9562, section 5.7."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from dativo_plugin_sdk import InvalidConfigError

_VERSION_AT = 14
_RANDOM = frozenset("12345")
_MILLISECOND = timedelta(milliseconds=1)
_TAIL_BITS = 80
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def follows_time(stream: str, column: str, text: str) -> bool:
    """Say whether a uuid begins with its time.

    Raises:
        InvalidConfigError: Its version is one whose later uuids are not higher.
    """
    version = text[_VERSION_AT]
    if version in _RANDOM:
        raise InvalidConfigError(
            f"stream {stream}: {column} has uuids of version {version}, and later ones are not higher: new rows cannot"
            " be found by it",
            hint="follow a time, a sequence or xmin, or read it with mode: full_refresh",
        )
    return version == "7"


def lowest_at(moment: datetime) -> str:
    """Give what no uuid made at the moment or later is below."""
    return str(UUID(int=max(0, (moment - _EPOCH) // _MILLISECOND) << _TAIL_BITS))


def earlier(text: str, by: timedelta) -> str:
    """Give what no uuid is below that was made at most so much earlier than this one."""
    made_ms = UUID(text).int >> _TAIL_BITS
    return str(UUID(int=max(0, made_ms - -(-by // _MILLISECOND)) << _TAIL_BITS))
