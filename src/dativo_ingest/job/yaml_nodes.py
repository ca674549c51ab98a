"""YAML as plain data that still knows where every key and value stands.

Scalars follow YAML 1.2's core schema (section 10.3), as editors do: ``no`` and ``2024-01-01`` are text, ``true`` is a
boolean; a number with leading zeros stays text, so that it keeps them. Keys are always text. Anchors, aliases and merge
keys work. What jobs and contracts have no use for is refused: other tags, several documents, keys given twice, aliases
that contain themselves or multiply.

The file is read event by event: PyYAML's C composer recurses on the C stack, and a deeply nested file ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from dativo_ingest.job.files import MAX_BYTES
from dativo_ingest.job.problems import Loc, Position, Problem, error_of
from dativo_plugin_sdk.errors import ConfigurationError, InvalidConfigError

MAX_DEPTH = 64
"""The deepest nesting, aliases filled in."""
MAX_VALUES = 200_000
"""The most keys and values, aliases filled in."""

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 4000  # Python refuses to turn more than 4300 into an int

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data.

    Attributes:
        name: The file's name as messages show it.
        data: Dicts with text keys, lists, and scalars; nothing in it is shared, also where the file has aliases.
        keys: Where each key or list item stands; for what an alias or merge key brings, where it is written out.
        values: Where each value stands.
    """

    name: str
    data: dict[str, Any]
    keys: Mapping[Loc, Position]
    values: Mapping[Loc, Position]

    def position(self, loc: Loc) -> Position:
        """Give the place of a key, or of the nearest one above it that is written."""
        return _nearest(self.keys, loc)

    def value_position(self, loc: Loc) -> Position:
        """Give the place of a value, or of the nearest one around it that is written."""
        return _nearest(self.values, loc)

    def has(self, loc: Loc) -> bool:
        """Say whether the file has this very key."""
        return loc in self.keys


def _nearest(positions: Mapping[Loc, Position], loc: Loc) -> Position:
    return next((positions[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in positions), Position(1, 1))


def read_document(
    raw: bytes,
    name: str,
    *,
    hint_if_empty: str = "a job has at least version, name, source and target",
    error_class: type[ConfigurationError] = InvalidConfigError,
) -> Document:
    """Parse a YAML file whose top level is a mapping.

    Args:
        raw: The file's bytes: UTF-8, with or without a byte order mark.
        name: The file's name, for messages.
        hint_if_empty: What to write into it.
        error_class: What is raised.

    Raises:
        ConfigurationError: It is not such a file; all keys given twice are listed together. Of ``error_class``.
    """
    reader = _Reader(name, _decoded(raw, name, error_class), error_class)
    root = reader.tree()
    if root is None:
        raise reader.error("the file is empty", hint=hint_if_empty)
    if not isinstance(root, _Mapping):
        raise reader.error("the top level must be keys and values, such as version: 1", root.position)
    builder = _Builder(reader)
    data = builder.mapping(root, ())
    if builder.problems:
        raise error_of(builder.problems, name)
    return Document(name, data, builder.keys, builder.values)


@dataclass(eq=False)
class _Scalar:
    position: Position
    text: str
    tag: str | None
    plain: bool


@dataclass(eq=False)
class _Sequence:
    position: Position
    items: list[_Node] = field(default_factory=list)


@dataclass(eq=False)
class _Mapping:
    position: Position
    pairs: list[tuple[_Node, _Node]] = field(default_factory=list)


_Node: TypeAlias = _Scalar | _Sequence | _Mapping


@dataclass
class _Open:
    """A collection whose end has not come yet."""

    node: _Sequence | _Mapping
    anchor: str | None
    key: _Node | None = None

    def add(self, child: _Node) -> None:
        if isinstance(self.node, _Sequence):
            self.node.items.append(child)
        elif self.key is None:
            self.key = child
        else:
            self.node.pairs.append((self.key, child))
            self.key = None


class _Reader:
    """Turns the parser's events into a tree."""

    def __init__(self, name: str, text: str, error_class: type[ConfigurationError]) -> None:
        self.name = name
        self.text = text
        self.error_class = error_class

    def error(self, message: str, position: Position = Position(1, 1), hint: str | None = None) -> Exception:  # noqa: B008  frozen
        return error_of([self.problem((), message, position, hint)], self.name)

    def problem(self, loc: Loc, message: str, position: Position, hint: str | None = None) -> Problem:
        return Problem(loc, message, position, hint, self.error_class)

    def tree(self) -> _Node | None:
        """Read the one document; None for an empty file."""
        root: _Node | None = None
        anchors: dict[str, _Node] = {}
        stack: list[_Open] = []
        for event in self._events():
            position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self.error("a second document begins here: a file holds one", position)
            done = self._node(event, position, anchors, stack)
            if done is not None and stack:
                stack[-1].add(done)
            elif done is not None:
                root = done
        if isinstance(root, _Scalar) and root.plain and not root.text:
            return None
        return root

    def _node(self, event: Any, position: Position, anchors: dict[str, _Node], stack: list[_Open]) -> _Node | None:
        """Give the node that this event completes, if it does; collections still open wait on the stack."""
        done: _Node | None = None
        anchor: str | None = None
        match event:
            case yaml.AliasEvent():
                return self._aliased(str(event.anchor), anchors, stack, position)
            case yaml.ScalarEvent():
                done, anchor = self._scalar(event, position), event.anchor
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                stack.append(_Open(self._collection(event, position), event.anchor))
                if len(stack) > MAX_DEPTH:
                    raise self.error(f"nested more than {MAX_DEPTH} deep", position)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                ended = stack.pop()
                done, anchor = ended.node, ended.anchor
        if done is not None and anchor is not None:
            anchors[anchor] = done
        return done

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.text, Loader=yaml.CSafeLoader)
        except yaml.reader.ReaderError as error:
            before = self.text.encode()[: error.position].decode(errors="replace")
            position = Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
            raise self.error("a control character that YAML does not allow", position) from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
            message = ", ".join(part for part in (error.context, error.problem) if part) or "syntax error"
            raise self.error(f"not YAML: {message}", position, self._syntax_hint(position, error)) from error

    def _syntax_hint(self, position: Position, error: yaml.MarkedYAMLError) -> str | None:
        lines = self.text.splitlines()
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        context = error.context_mark
        around = lines[context.line] if context is not None and context.line < len(lines) else ""
        if "${" in line or "${" in around:
            return 'put references inside {…} and […], or before ": ", in quotes: {password: "${PGPASSWORD}"}'
        if "\t" in line:
            return "indent with spaces: YAML does not allow tabs there"
        return None

    def _aliased(self, name: str, anchors: dict[str, _Node], stack: list[_Open], position: Position) -> _Node:
        if any(each.anchor == name for each in stack):
            raise self.error(f"the alias *{name} stands inside its own anchor", position)
        if name not in anchors:
            raise self.error(f"there is no anchor &{name} before this alias", position)
        return anchors[name]

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> _Scalar:
        tag = event.tag.removeprefix(_TAG) if event.tag else None
        if tag == "!":
            tag = "str"
        if tag not in {None, "str", "int", "float", "bool", "null"}:
            raise self.error(f"the tag {_shown(str(event.tag))} is not allowed", position)
        return _Scalar(position, event.value, tag, event.implicit[0])

    def _collection(self, event: Any, position: Position) -> _Sequence | _Mapping:
        is_sequence = isinstance(event, yaml.SequenceStartEvent)
        if event.tag not in {None, "!", _TAG + ("seq" if is_sequence else "map")}:
            raise self.error(f"the tag {_shown(event.tag)} is not allowed", position)
        return _Sequence(position) if is_sequence else _Mapping(position)


class _Builder:
    """Turns a tree into data and positions, filling in aliases and merge keys."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.keys: dict[Loc, Position] = {}
        self.values: dict[Loc, Position] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def mapping(self, node: _Mapping, loc: Loc) -> dict[str, Any]:
        self.values[loc] = node.position
        pairs = self._pairs(node, loc)
        return {key: self._value(value, (*loc, key), place) for key, (place, value) in pairs.items()}

    def _value(self, node: _Node, loc: Loc, key_position: Position) -> Any:
        self._limit(node, loc)
        self.keys[loc] = key_position
        self.values[loc] = node.position
        if isinstance(node, _Mapping):
            return self.mapping(node, loc)
        if isinstance(node, _Sequence):
            return [self._value(item, (*loc, index), item.position) for index, item in enumerate(node.items)]
        return self._scalar(node, loc)

    def _limit(self, node: _Node, loc: Loc) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self.reader.error(f"more than {MAX_VALUES} values, aliases filled in", node.position)
        if len(loc) > MAX_DEPTH:
            raise self.reader.error(f"nested more than {MAX_DEPTH} deep, aliases filled in", node.position)

    def _pairs(self, node: _Mapping, loc: Loc, depth: int = 0) -> dict[str, tuple[Position, _Node]]:
        """Give a mapping's keys in order, those of its merge keys after its own, which go before them."""
        own: dict[str, tuple[Position, _Node]] = {}
        merges: list[_Node] = []
        written: dict[str, Position] = {}
        for key, value in node.pairs:
            self._limit(key, ())
            if not isinstance(key, _Scalar):
                raise self.reader.error("a key must be plain text", key.position)
            if key.text in written:
                first = written[key.text]
                message = f"the key is given twice, first at {first.line}:{first.column}"
                self.problems.append(self.reader.problem((*loc, key.text), message, key.position, "keep one of them"))
                continue
            written[key.text] = key.position
            if key.text == "<<" and key.plain:
                merges += self._merged(value)
            else:
                own[key.text] = (key.position, value)
        if merges and depth > MAX_DEPTH:
            raise self.reader.error(f"merge keys nested more than {MAX_DEPTH} deep", node.position)
        for merged in merges:
            for name, pair in self._pairs(self._as_mapping(merged), loc, depth + 1).items():
                own.setdefault(name, pair)
        return own

    def _merged(self, value: _Node) -> list[_Node]:
        return list(value.items) if isinstance(value, _Sequence) else [value]

    def _as_mapping(self, node: _Node) -> _Mapping:
        if not isinstance(node, _Mapping):
            raise self.reader.error("<< merges keys and values, such as <<: *defaults", node.position)
        return node

    def _scalar(self, node: _Scalar, loc: Loc) -> Scalar:
        if node.tag == "str" or (node.tag is None and not node.plain):
            return node.text
        value = plain_value(node.text)
        kinds = {"int": int, "float": int | float, "bool": bool, "null": type(None)}
        if node.tag is None:
            return value
        if not isinstance(value, kinds[node.tag]) or (isinstance(value, bool) and node.tag != "bool"):
            message = f"this is not what its tag !!{node.tag} says"
            self.problems.append(self.reader.problem(loc, message, node.position))
            return None
        return float(value) if node.tag == "float" and isinstance(value, int) else value


_SPELLINGS: tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...] = (
    (_NULL, lambda _: None),
    (_BOOL, lambda text: text[0] in "tT"),
    (_INT, int),
    (_OCTAL, lambda text: int(text, 8)),
    (_HEX, lambda text: int(text, 16)),
    (_FLOAT, float),
    (_SPECIAL_FLOAT, lambda text: float(text.replace(".", "", 1))),
)


def plain_value(text: str) -> Scalar:
    """Resolve a scalar without quotes, YAML 1.2 section 10.3.2."""
    if len(text) > _MAX_DIGITS:
        return text
    return next((read(text) for spelling, read in _SPELLINGS if spelling.fullmatch(text)), text)


def _shown(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _decoded(raw: bytes, name: str, error_class: type[ConfigurationError]) -> str:
    if len(raw) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 2**20} MiB, the most that is read"
        raise error_of([Problem((), message, Position(1, 1), error_class=error_class)], name)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        position = Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
        raise error_of([Problem((), message, position, "save the file as UTF-8", error_class)], name) from error
