"""What became of public names between two records: what is there now and was not, and what breaks those who use it.

The rules are for two kinds of users. Whoever calls is broken by what can no longer be called as it was, or gives other
things. Whoever subclasses, where a class is made for it, is broken by any change of a method: theirs is as it was.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Difference:
    """One change of one name."""

    name: str
    what: str
    is_break: bool


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Compare two records."""
    found = [Difference(name, "removed", is_break=True) for name in before if name not in now]
    found += [Difference(name, "added", is_break=False) for name in now if name not in before]
    for name in before:
        if name in now:
            found += _of_name(name, before[name], now[name])
    return sorted(found)


def _of_name(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    if before["kind"] != now["kind"]:
        yield Difference(name, f"was a {before['kind']}, is a {now['kind']}", is_break=True)
        return
    match before["kind"]:
        case "class":
            yield from _of_class(name, before, now)
        case "enum":
            yield from _of_set(name, before["members"], now["members"])
        case "function":
            yield from _of_callable(name, before, now, is_overridden=False)
        case "alias":
            yield from _of_set(name, dict.fromkeys(before["parts"]), dict.fromkeys(now["parts"]))
        case _:
            yield from _of_text(name, "value", before["value"], now["value"])


def _of_class(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _of_set(f"{name} (bases)", dict.fromkeys(before["bases"]), dict.fromkeys(now["bases"]))
    yield from _of_parameters(f"{name}()", before["made_by"], now["made_by"], is_overridden=False)
    for member, was in before["members"].items():
        if member not in now["members"]:
            yield Difference(f"{name}.{member}", "removed", is_break=True)
        else:
            yield from _of_member(f"{name}.{member}", was, now["members"][member], is_overridden=now["is_subclassed"])
    for member, found in now["members"].items():
        if member not in before["members"]:
            must = bool(found.get("abstract"))
            yield Difference(f"{name}.{member}", "added as abstract" if must else "added", is_break=must)


def _of_member(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], *, is_overridden: bool
) -> Iterator[Difference]:
    if before["kind"] != now["kind"]:
        yield Difference(name, f"was a {before['kind']}, is a {now['kind']}", is_break=True)
        return
    if now.get("abstract") and not before.get("abstract"):
        yield Difference(name, "is abstract now", is_break=True)
    if "parameters" in before:
        yield from _of_callable(name, before, now, is_overridden=is_overridden)
    else:
        yield from _of_text(name, "type", before["type"], now["type"])
        yield from _of_text(name, "value", before.get("value"), now.get("value"))


def _of_callable(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], *, is_overridden: bool
) -> Iterator[Difference]:
    yield from _of_parameters(f"{name}()", before["parameters"], now["parameters"], is_overridden=is_overridden)
    if before["returns"] != now["returns"]:
        narrower = _union(now["returns"]) <= _union(before["returns"])
        what = f"returns {now['returns'] or 'anything'}, was {before['returns'] or 'anything'}"
        yield Difference(f"{name}()", what, is_break=is_overridden or not narrower)


def _of_parameters(
    name: str, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], *, is_overridden: bool
) -> Iterator[Difference]:
    known = {each["name"]: each for each in before}
    there = {each["name"]: each for each in now}
    for parameter in known:
        if parameter not in there:
            yield Difference(name, f"parameter {parameter} removed", is_break=True)
    for parameter, found in there.items():
        if parameter not in known:
            must = found["default"] is None and not found["kind"].startswith("var_")
            what = f"{'required ' if must else ''}parameter {parameter} added"
            yield Difference(name, what, is_break=must or is_overridden)
        else:
            yield from _of_parameter(name, known[parameter], found, is_overridden=is_overridden)
    was, are = _positional(before), _positional(now)
    if [each for each in are if each in was] != was[: len(are)] or are[: len(was)] != was[: len(are)]:
        yield Difference(name, f"positions are {', '.join(are) or 'none'}, were {', '.join(was)}", is_break=True)


def _of_parameter(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], *, is_overridden: bool
) -> Iterator[Difference]:
    of = f"{name} parameter {before['name']}"
    if before["kind"] != now["kind"]:
        widened = now["kind"] == "positional_or_keyword" and not is_overridden
        yield Difference(of, f"is {now['kind']}, was {before['kind']}", is_break=not widened)
    if before["default"] != now["default"]:
        given = before["default"] is None
        what = f"default {now['default']}" if now["default"] is not None else "required"
        yield Difference(of, f"{what}, was {before['default'] or 'required'}", is_break=not given)
    if before["type"] != now["type"]:
        wider = _union(before["type"]) <= _union(now["type"]) or not now["type"]
        what = f"takes {now['type'] or 'anything'}, took {before['type'] or 'anything'}"
        yield Difference(of, what, is_break=is_overridden or not wider)


def _positional(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    return [each["name"] for each in parameters if each["kind"].startswith("positional")]


def _of_set(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for part, value in before.items():
        if part not in now:
            yield Difference(name, f"{part} removed", is_break=True)
        elif now[part] != value:
            yield Difference(name, f"{part} is {now[part]!r}, was {value!r}", is_break=True)
    for part in now:
        if part not in before:
            yield Difference(name, f"{part} added", is_break=False)


def _of_text(name: str, what: str, before: str | None, now: str | None) -> Iterator[Difference]:
    if before != now:
        yield Difference(name, f"{what} {now}, was {before}", is_break=True)


def _union(annotation: str) -> set[str]:
    """Give the members of ``A | B``."""
    node: ast.expr = ast.parse(annotation or "Any", mode="eval").body
    parts = set()
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        parts.add(ast.unparse(node.right))
        node = node.left
    return parts | {ast.unparse(node)}
