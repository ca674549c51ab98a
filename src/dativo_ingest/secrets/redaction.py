"""Secrets' values, kept out of everything that is printed, logged or written down.

Every value that a reference gave is registered here, and what leaves the process passes through `redact` or
`redact_document`. A value is found

* as it is, and one of several lines line by line;
* percent-encoded, as ``quote`` and ``quote_plus`` write it;
* escaped as within a JSON string (once or twice) and within a Python repr;
* in Base64, standard and URL-safe, with or without padding, also where it stands anywhere within what was encoded
  (``user:password`` of an HTTP header): then the whole Base64 word goes.

Longer values go before shorter ones. A value of fewer than `MIN_CHARACTERS` characters is not redacted: it would be
found everywhere, and black out the text without hiding anything. What no text search can find is not found either: a
value that is hashed, compressed, cut in two, or changed in case.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "**********"
MIN_CHARACTERS = 4
"""The shortest value that is redacted."""

_MIN_LINE_CHARACTERS = 8
_BASE64_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_SECRET_MEMBER = re.compile(r"(?:pass|password|passwd|passphrase|secret|token|key|credential)s?$", re.IGNORECASE)


class Redactor:
    """A set of values to hide; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: frozenset[str] = frozenset()
        self._words: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        """Hide a value from now on; one that is too short, or known, changes nothing."""
        texts: set[str] = set()
        words: set[str] = set()
        for part in _parts(value):
            texts.update(_forms(part))
            words.update(_base64_forms(part))
        with self._lock:
            if texts <= self._texts and words <= self._words:
                return
            self._texts |= texts
            self._words |= words
            longest_first = sorted(self._texts | self._words, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Give the text with stars for every registered value."""
        pattern = self._pattern
        if pattern is None:
            return text
        parts: list[str] = []
        at = 0
        for start, end in self._spans(pattern, text):
            parts += [text[at:start], REDACTED]
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    def redact_document(self, document: Any) -> Any:
        """Give a copy of a JSON document with stars for registered values, in keys too.

        Redact before writing the JSON: in its text a value could take quotes along. Tuples become lists; a number is
        replaced where its digits are a registered value; anything that is no JSON value comes back as it is.
        """
        if isinstance(document, str):
            return self.redact(document)
        if isinstance(document, dict):
            return {self.redact_document(key): self.redact_document(value) for key, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.redact_document(item) for item in document]
        if isinstance(document, int | float) and not isinstance(document, bool) and str(document) in self._texts:
            return REDACTED
        return document

    def traceback_text(self, error: BaseException) -> str:
        """Format an exception, with what led to it, as Python prints it, and redact that."""
        return self.redact("".join(traceback.format_exception(error)))

    def _spans(self, pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
        """Give where to put stars, in order, apart from each other; a Base64 match takes its whole word."""
        words = self._words
        last: tuple[int, int] | None = None
        at = 0
        while found := pattern.search(text, at):
            start, end = found.span()
            at = end
            if found[0] in words:
                while start and text[start - 1] in _BASE64_WORD:
                    start -= 1
                while end < len(text) and text[end] in _BASE64_WORD:
                    end += 1
                while end < len(text) and text[end] == "=":
                    end += 1
                at = end
            if last is not None and start <= last[1]:
                last = (min(start, last[0]), max(end, last[1]))
                continue
            if last is not None:
                yield last
            last = (start, end)
        if last is not None:
            yield last


REDACTOR = Redactor()
"""The process's own: what references give is registered here."""


def register(value: str) -> None:
    """Hide a value in everything this process prints."""
    REDACTOR.register(value)


def redact(text: str) -> str:
    """Give the text with stars for every registered value."""
    return REDACTOR.redact(text)


def redact_document(document: Any) -> Any:
    """Give a copy of a JSON document with stars for every registered value."""
    return REDACTOR.redact_document(document)


def install_excepthooks(redactor: Redactor = REDACTOR) -> None:
    """Make tracebacks that nobody catches, in any thread or finalizer, come out redacted."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redactor.redact("".join(traceback.format_exception(kind, error, trace))))

    def thread_hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            name = arguments.thread.name if arguments.thread else "unknown"
            text = redactor.traceback_text(arguments.exc_value)
            sys.stderr.write(redactor.redact(f"Exception in thread {name}:\n") + text)

    def unraisable_hook(arguments: sys.UnraisableHookArgs) -> None:
        if arguments.exc_value is not None:
            message = arguments.err_msg or "Exception ignored in"
            text = redactor.traceback_text(arguments.exc_value)
            sys.stderr.write(redactor.redact(f"{message}: {arguments.object!r}\n") + text)

    sys.excepthook = hook
    threading.excepthook = thread_hook
    sys.unraisablehook = unraisable_hook


def _parts(value: str) -> Iterator[str]:
    """Give what must be hidden of a value: itself, its lines, and the secret members where it is a JSON object."""
    stripped = value.strip()
    if len(value) >= MIN_CHARACTERS and value != stripped:
        yield value
    if len(stripped) < MIN_CHARACTERS:
        return
    yield stripped
    members = _json_members(stripped)
    if members is not None:
        yield from members
        return
    lines = stripped.splitlines()
    if len(lines) > 1:
        for line in map(str.strip, lines):
            if len(line) >= _MIN_LINE_CHARACTERS and not line.startswith("-----"):
                yield line


def _json_members(text: str) -> list[str] | None:
    if not text.startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found: list[str] = []
    stack: list[Any] = [document]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        elif isinstance(each, dict):
            for key, value in each.items():
                if isinstance(value, str) and _SECRET_MEMBER.search(key) and len(value.strip()) >= MIN_CHARACTERS:
                    found += [value.strip(), *(line for line in value.split("\n") if _is_line(line))]
                else:
                    stack.append(value)
    return found


def _is_line(line: str) -> bool:
    return len(line) >= _MIN_LINE_CHARACTERS and not line.startswith("-----")


def _forms(value: str) -> set[str]:
    """Give the ways a value is written in text."""
    forms = {value}
    encodable = value.encode("utf-8", "surrogatepass")
    for encoded in (quote(encodable), quote(encodable, safe=""), quote_plus(encodable)):
        forms |= {encoded, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)}
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        forms |= {once, once.replace("/", "\\/"), json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    forms |= {repr(value)[1:-1], repr(encodable)[2:-1], ascii(value)[1:-1]}
    return {form for form in forms if len(form) >= MIN_CHARACTERS}


def _base64_forms(value: str) -> set[str]:
    """Give the characters of Base64 that the value alone decides, for each of the three places it may start at.

    RFC 4648, section 4: three bytes make four characters. Of a value that starts one or two bytes into such a group,
    the first characters also depend on what stands before; of one that ends within a group, the last on what follows.
    """
    raw = value.encode("utf-8", "surrogatepass")
    forms: set[str] = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        first = (8 * before + 5) // 6
        whole = 8 * (before + len(raw)) // 6
        core = encoded[first:whole]
        if len(core) >= MIN_CHARACTERS:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms
