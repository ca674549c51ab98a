"""What a plugin prints, as it is shown and kept."""

from __future__ import annotations

import pytest

from dativo_ingest.sandbox.output import LAST_LINES, Lines, Output
from dativo_ingest.secrets import redaction


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def lines(said: list[str]) -> Lines:
    return Lines(Output(100_000, said.append))


def test_lines_are_told_whole_however_they_come(lines: Lines, said: list[str]) -> None:
    for piece in (b"o", b"ne\ntw", b"o\n\nthr", b"ee"):
        lines.feed(piece)
    lines.finish()

    assert said == ["one", "two", "", "three"]


def test_what_steers_a_terminal_is_left_out(lines: Lines, said: list[str]) -> None:
    lines.feed("a\tb\x1b[2J\r\x9b1m \u202egnp.exe \u2028 caf\u00e9 \ufeff\n".encode() + b"\xff\n")

    assert said == ["a b[2J1m gnp.exe  caf\u00e9 ", "\ufffd"]


def test_a_secret_shows_nowhere_also_where_something_is_put_between_its_characters(
    said: list[str], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "REDACTOR", redaction.Redactor())
    redaction.register("the-very-secret")

    lines.feed(b"a the-very-secret b\nthe-ve\0ry-se\x1bcret\n" + b"x" * 4090 + b"the-very-secret\n")

    assert not any("very" in line for line in said)


def test_a_line_without_an_end_is_cut_and_holds_no_memory(lines: Lines, said: list[str]) -> None:
    for _ in range(20):
        lines.feed(b"x" * 4000)
    lines.feed(b"\nnext\n")

    assert [len(line) < 5000 for line in said] == [True, True]
    assert said[0].endswith("(cut)")
    assert said[1] == "next"


def test_the_newest_lines_are_kept(lines: Lines) -> None:
    output = Output(100_000, lambda _: None)
    lines = Lines(output)

    lines.feed(b"".join(b"%d\n" % number for number in range(100)))

    assert output.last_lines == [str(number) for number in range(100 - LAST_LINES, 100)]


def test_beyond_the_limit_everything_is_dropped_and_that_is_told_once() -> None:
    said: list[str] = []
    output = Output(10, said.append)
    lines, others = Lines(output), Lines(output)

    taken = [lines.feed(b"12345\n"), others.feed(b"12345\n"), lines.feed(b"more\n"), output.count(1)]

    assert taken == [True, False, False, False]
    assert said == ["12345", "the plugin printed and logged more than 10 bytes; the rest is dropped"]


def test_of_a_crash_the_lines_of_the_plugins_own_code_are_kept() -> None:
    told: list[str] = []
    output = Output(2**20, told.append)
    dump = [
        "Fatal Python error: Segmentation fault",
        "Current thread 0x00007f74b47d6b80 (most recent call first):",
        '  File "/shop/reader.py", line 6 in extract',
        *(f'  File "/venv/dativo_plugin_sdk/host/session.py", line {line} in _value' for line in range(30)),
        '  File "<frozen runpy>", line 88 in _run_code',
        "Extension modules: numpy._core._multiarray_umath (total: 1)",
    ]

    for line in dump:
        output.line(line)

    assert told == dump
    assert output.last_lines == dump[:3]
