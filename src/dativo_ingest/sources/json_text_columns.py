"""Columns that hold JSON texts: in each record, the text of the value takes the value's place, as a JSON string.

pyarrow's parser then sees a string where there was a value of any kind, and the text that lands is the source's own:
no number is rounded, no key reordered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from json.encoder import encode_basestring

_SPACE = r"[ \t\r\n]*+"
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_BARE = r'[^\s,:"{}\[\]]++'
_OPEN = re.compile(rf"{_SPACE}\{{{_SPACE}")
_KEY = re.compile(rf'"((?:[^"\\]++|\\.)*+)"{_SPACE}:{_SPACE}', re.DOTALL)
_SIMPLE_VALUE = re.compile(rf"{_STRING}|{_BARE}", re.DOTALL)
_SEPARATOR = re.compile(rf"{_SPACE}(?:(,){_SPACE}|\}})")


def _refuse(_: str) -> None:
    raise ValueError


def _forget(_: object) -> None:
    return None


# Only where a value ends is asked for: nothing of it is kept, so that a large one takes little memory.
_raw_decode = json.JSONDecoder(
    object_pairs_hook=_forget, parse_float=_forget, parse_int=_forget, parse_constant=_refuse
).raw_decode


class TextColumns:
    """Rewrites records so that some of their members are JSON texts.

    Args:
        every: The columns whose values all become texts, but for null; a string keeps its quotes.
        nested: The columns whose objects and lists become texts, and nothing else.
    """

    def __init__(self, every: Collection[str], nested: Collection[str] = ()) -> None:
        self._every = frozenset(every)
        self._nested = frozenset(nested)
        names = sorted(self._every | self._nested)
        keys = "|".join(re.escape(name) for name in names)
        # Members of no interest, as many as there are: plain values under other keys that are written without escapes.
        # Greedy is enough, as nothing follows; Python before 3.11.5 does not go back where the last try of *+ fails.
        self._others = re.compile(
            rf'(?:"(?!(?:{keys})")[^"\\]*+"{_SPACE}:{_SPACE}(?:{_STRING}|{_BARE}){_SPACE},{_SPACE})*', re.DOTALL
        )

    def rewrite(self, record: str) -> str:
        """Rewrite one record.

        Raises:
            ValueError: It is not well-formed, as far as that was looked at; the parser has the last word.
            RecursionError: It is nested too deeply.
        """
        parts: list[str] = []
        taken = 0
        at = _end(_OPEN, record, 0)
        if record.startswith("}", at):
            return record
        while True:
            at = _end(self._others, record, at)
            key = _KEY.match(record, at)
            if key is None:
                raise ValueError(record)
            start = key.end()
            name = key[1] if "\\" not in key[1] else str(json.loads(f'"{key[1]}"'))
            is_text = self._is_text(name, record, start)
            if is_text or record.startswith(("{", "["), start):
                end = _raw_decode(record, start)[1]  # this looks into it, too: the parser will not
            else:
                end = _end(_SIMPLE_VALUE, record, start)
            if is_text:
                parts += (record[taken:start], encode_basestring(record[start:end]))
                taken = end
            separator = _SEPARATOR.match(record, end)
            if separator is None:
                raise ValueError(record)
            at = separator.end()
            if separator[1] is None:
                break
        return "".join((*parts, record[taken:])) if parts else record

    def _is_text(self, name: str, record: str, start: int) -> bool:
        if name in self._every:
            return not record.startswith("null", start)
        return name in self._nested and record[start] in "{["


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError(text)
    return match.end()
