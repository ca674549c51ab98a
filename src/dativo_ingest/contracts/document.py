"""A YAML document with the place of every key and value, for messages that an editor can jump to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from dativo_plugin_sdk import ConfigurationError, MissingConfigError, SchemaValidationError

Loc: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the root to a value."""

_MAX_DEPTH = 100


@dataclass(frozen=True)
class Document:
    """Plain values and where each stands (line and column from 1)."""

    path: Path
    data: Any
    values: dict[Loc, tuple[int, int]]
    keys: dict[Loc, tuple[int, int]]

    def place(self, loc: Sequence[str | int], *, key: bool = False) -> str:
        """Give ``file:line:column dotted.path`` of a value or its key, or of what is around a missing one."""
        known = tuple(loc)
        line, column = (self.keys if key else self.values).get(known, (0, 0))
        while not line:
            known = known[:-1]
            line, column = self.values.get(known, (1, 1) if not known else (0, 0))
        return f"{self.path}:{line}:{column} {dotted(loc)}".rstrip()

    def error(self, loc: Sequence[str | int], message: str, *, key: bool = False, hint: str | None = None) -> Exception:
        """Make the error that says what is wrong at a place."""
        return SchemaValidationError(f"{self.place(loc, key=key)}: {message}", hint=hint)


def dotted(loc: Sequence[str | int]) -> str:
    """Write a path as ``schema[0].properties[2].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def read_document(path: Path) -> Document:
    """Read a YAML file of mappings, lists and scalars; dates stay the text that they are written as.

    Raises:
        MissingConfigError: There is no such file.
        SchemaValidationError: It is no YAML, has a key twice or an alias in itself.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingConfigError(
            f"no contract at {path}", hint="relative paths start at the job file's folder"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"contract {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SchemaValidationError(f"{path}: no UTF-8 text") from error
    try:
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise SchemaValidationError(f"{place}: no YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SchemaValidationError(f"{path}: no YAML: {error}") from error
    document = Document(path, None, {}, {})
    data = None if root is None else _plain(root, (), document)
    return Document(path, data, document.values, document.keys)


class _Loader(yaml.SafeLoader):
    """Reads scalars by the YAML rules but leaves dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  what PyYAML reads
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _plain(node: yaml.Node, loc: Loc, document: Document) -> Any:
    document.values[loc] = _mark(node)
    if len(loc) > _MAX_DEPTH:
        raise document.error(loc[:3], "nested too deeply; is there an alias that contains itself?")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, loc, document)
            inner = (*loc, str(key))
            if str(key) in mapping:
                line, column = _mark(key_node)
                first = document.keys[inner][0]
                raise SchemaValidationError(
                    f"{document.path}:{line}:{column} {dotted(inner)}: the key is there already, in line {first}"
                )
            document.keys[inner] = _mark(key_node)
            mapping[str(key)] = _plain(value_node, inner, document)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*loc, index), document) for index, item in enumerate(node.value)]
    return _scalar(node, loc, document)


def _scalar(node: yaml.Node, loc: Loc, document: Document) -> Any:
    loader = _Loader("")
    try:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        line, column = _mark(node)
        raise SchemaValidationError(f"{document.path}:{line}:{column}: {error}") from error
    finally:
        loader.dispose()
    raise document.error(loc, "a key must be plain text")


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
