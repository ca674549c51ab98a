"""One key of a secret that holds several: ``${secret:pg#password}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from dativo_plugin_sdk.errors import InvalidConfigError, MissingConfigError

_MAX_DEPTH = 32
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*?)\s*")


def split_reference(reference: str) -> tuple[str, str | None]:
    """Split ``path#key``; the key is None where the whole secret is meant.

    Raises:
        InvalidConfigError: The path or the key is empty.
    """
    path, mark, key = reference.partition("#")
    if not path.strip() or (mark and not key.strip()):
        raise InvalidConfigError(
            f"a secret is written path or path#key, not {reference!r}", details={"reference": reference}
        )
    return path.strip(), key.strip() if mark else None


def pick(text: str, key: str | None, reference: str) -> str:
    """Give one key of a secret's text, or the whole text where ``key`` is None.

    The text is a JSON object, a YAML mapping or lines of ``NAME=value`` (a ``.env`` file: quotes around a value go, and
    lines that begin with ``#``). A key with dots that is not there as a whole goes down: ``db.password``. Values come
    back as they are written: ``0123`` keeps its zero.

    Raises:
        MissingConfigError: There is no such key; the message lists the keys there are.
        InvalidConfigError: The text has no keys, or the value is not a single one.
    """
    if key is None:
        return text
    document = _keys_of(text)
    if document is None:
        raise InvalidConfigError(
            f"secret {reference!r}: it holds one value, not keys",
            details={"reference": reference},
            hint="leave out #key, or keep the secret as JSON, YAML or NAME=value lines",
        )
    value = _find(document, key)
    if value is None:
        raise MissingConfigError(
            f"secret {reference!r}: it has no key {key!r}; it has {', '.join(sorted(document)) or 'none'}",
            details={"reference": reference},
        )
    if not isinstance(value, str):
        raise InvalidConfigError(
            f"secret {reference!r}: key {key!r} holds several values; name one of them",
            details={"reference": reference},
        )
    return value


def _find(document: Mapping[str, Any], key: str) -> object:
    if key in document:
        return document[key]
    value: object = document
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _keys_of(text: str) -> Mapping[str, Any] | None:
    if text.lstrip().startswith("{"):
        return _json_keys(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assignments = [_ASSIGNMENT.fullmatch(line) for line in lines]
    if lines and all(assignments):
        return {found[1]: _unquoted(found[2]) for found in assignments if found}
    return _yaml_keys(text)


def _json_keys(text: str) -> Mapping[str, Any] | None:
    try:
        document = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return _texts(document) if isinstance(document, dict) else None


def _yaml_keys(text: str) -> Mapping[str, Any] | None:
    try:
        if _too_deep(text):
            return None
        document = yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506  a base loader makes text only
    except (yaml.YAMLError, ValueError, TypeError):
        return None
    return document if isinstance(document, dict) and all(isinstance(key, str) for key in document) else None


def _too_deep(text: str) -> bool:
    """Say whether YAML nests so deep, or has aliases, that composing it could take the process down."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CBaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            return True
    return False


def _texts(value: object) -> Any:
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
