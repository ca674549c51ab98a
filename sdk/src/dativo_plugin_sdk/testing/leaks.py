"""Whether a secret is found in a text, in any of the forms in which it travels."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # a shorter one is found by chance


def secret_values(credentials: Mapping[str, Any] | None) -> list[str]:
    """List the texts among credentials that are long enough to be looked for."""
    return [text for text in _texts(credentials or {}) if len(text) >= _SHORTEST]


def found_in(text: str, secrets: Iterable[str]) -> bool:
    """Say whether any of the secrets stands in a text: plain, escaped, quoted for a URL, or in base64."""
    return any(form in text for secret in secrets for form in _forms(secret))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {
        *(secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]),
        *(encoded, encoded.replace("+", "-").replace("/", "_")),
    }
