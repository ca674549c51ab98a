"""Short digests that tell whether a source or a schema is still the one that a state was made with."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_HEX_DIGITS = 16


def fingerprint(*parts: Any) -> str:
    """Give 16 hexadecimal digits that stand for JSON values, and from which the values cannot be read.

    The order of a mapping's keys does not matter; what JSON cannot hold counts as its text.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def schema_fingerprint(schema: pa.Schema) -> str:
    """Give the fingerprint of a schema's names, types and nullability, in their order; metadata does not count."""
    return fingerprint([[field.name, str(field.type), field.nullable] for field in schema])
