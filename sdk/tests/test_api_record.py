"""The SDK keeps what its last release promised; and what says so notices each kind of a break."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dativo_plugin_sdk
import record
from differences import differences
from signatures import described, signatures

HEAD = """
from __future__ import annotations
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Union
from pydantic import BaseModel
"""


def test_the_sdk_breaks_nothing_that_its_last_release_promised() -> None:
    last = record.last_record(dativo_plugin_sdk.__version__)
    assert last is not None

    found = differences(json.loads(last.read_text(encoding="utf-8")), signatures())

    assert record.forbidden(found, last.stem, dativo_plugin_sdk.__version__, record.declared()) == []


def test_a_record_is_the_same_in_every_process() -> None:
    script = "import record, signatures; print(record.written(signatures.signatures()))"
    folder = Path(record.__file__).parent

    other = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "7"},
    )

    assert json.loads(other.stdout) == signatures()
    assert " at 0x" not in other.stdout


@pytest.fixture
def described_as(monkeypatch):
    def of(text: str) -> dict:
        toy = ModuleType("dativo_plugin_sdk.toy")
        monkeypatch.setitem(sys.modules, toy.__name__, toy)
        exec(HEAD + text, vars(toy))  # noqa: S102  a module of the SDK as it might be
        return {"toy.T": described(toy.T)} if hasattr(toy, "T") else {}

    return of


READER = "class T(ABC):\n    @abstractmethod\n    def read(self, stream: str, *, rows: int = 7) -> list[int]: ...\n"
MORE = "    def close(self) -> None: ...\n"
SPEC = "@dataclass\nclass T:\n    name: str\n    rows: int = 7\n    options: dict = field(default_factory=dict)\n"


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        pytest.param("def T(): ...", "", "toy.T: removed", id="a name that is gone"),
        pytest.param("def T(): ...", "class T: ...", "toy.T: was a function, is a class", id="another kind of thing"),
        pytest.param("def T(a): ...", "def T(a, b): ...", "toy.T(): required parameter b added", id="a new argument"),
        pytest.param("def T(a, b=1): ...", "def T(a): ...", "toy.T(): parameter b removed", id="an argument gone"),
        pytest.param("def T(a): ...", "def T(x): ...", "toy.T(): parameter a removed", id="an argument renamed"),
        pytest.param("def T(a, b): ...", "def T(b, a): ...", "toy.T(): positions are b, a, were a, b", id="positions"),
        pytest.param("def T(a=1): ...", "def T(b=0, a=1): ...", "toy.T(): positions are b, a, were a", id="one before"),
        pytest.param(
            "def T(a): ...", "def T(*, a): ...", "a: is keyword_only, was positional_or_keyword", id="by name"
        ),
        pytest.param("def T(a=1): ...", "def T(a=2): ...", "toy.T() parameter a: default 2, was 1", id="a default"),
        pytest.param("def T(a=1): ...", "def T(a): ...", "toy.T() parameter a: required, was 1", id="no default"),
        pytest.param(
            "def T(a: int | str): ...", "def T(a: int): ...", "parameter a: takes int, took int | str", id="narrower"
        ),
        pytest.param(
            "def T() -> int: ...",
            "def T() -> int | None: ...",
            "toy.T(): returns int | None, was int",
            id="may be None",
        ),
        pytest.param(
            READER,
            READER + "    @abstractmethod\n" + MORE,
            "toy.T.close: added as abstract",
            id="a new abstract method",
        ),
        pytest.param(READER + MORE, READER, "toy.T.close: removed", id="a method that is gone"),
        pytest.param(
            READER + MORE, READER + "    @abstractmethod\n" + MORE, "toy.T.close: is abstract now", id="now abstract"
        ),
        pytest.param(
            READER,
            READER.replace("rows: int = 7", "rows: int = 7, more: bool = False"),
            "toy.T.read(): parameter more added",
            id="overrides do not have an optional argument",
        ),
        pytest.param(
            READER,
            READER.replace("stream: str", "stream: str | None"),
            "toy.T.read() parameter stream: takes str | None, took str",
            id="overrides do not take a wider type",
        ),
        pytest.param(
            READER,
            READER.replace("    @abstractmethod", "    @classmethod").replace("self", "cls"),
            "toy.T.read: was a method, is a classmethod",
            id="a method of the class",
        ),
        pytest.param(
            "class T:\n    @property\n    def size(self) -> int: ...",
            "class T:\n    def size(self) -> int: ...",
            "toy.T.size: was a property, is a method",
            id="a property that is called",
        ),
        pytest.param(
            "class T:\n    @property\n    def size(self) -> int: ...",
            "class T:\n    @property\n    def size(self) -> str: ...",
            "toy.T.size: type str, was int",
            id="a property of another type",
        ),
        pytest.param(SPEC, SPEC.replace("    rows: int = 7\n", ""), "toy.T.rows: removed", id="a field that is gone"),
        pytest.param(SPEC, SPEC.replace("= 7", "= 8"), "toy.T.rows: value 8, was 7", id="a field's default"),
        pytest.param(SPEC, SPEC.replace("=dict", "=list"), "toy.T.options: value list(), was dict()", id="a factory"),
        pytest.param(
            SPEC, SPEC.replace("name: str", "name: bytes"), "toy.T.name: type bytes, was str", id="a field's type"
        ),
        pytest.param(
            SPEC,
            SPEC.replace("    name: str\n", "    name: str\n    kind: str\n"),
            "toy.T(): required parameter kind added",
            id="a new field that must be given",
        ),
        pytest.param(
            "class T(BaseModel):\n    a: int = 1",
            "class T(BaseModel):\n    a: int",
            "toy.T() parameter a: required, was 1",
            id="a model's field that must be given",
        ),
        pytest.param(
            "class T(ValueError): code = 'A'",
            "class T(ValueError): code = 'B'",
            "toy.T.code: value 'B', was 'A'",
            id="a code",
        ),
        pytest.param(
            "class T(KeyError): ...",
            "class T(ValueError): ...",
            "(bases): builtins.KeyError removed",
            id="a base that is caught",
        ),
        pytest.param(
            "class T(StrEnum):\n    A = 'a'",
            "class T(StrEnum):\n    A = 'b'",
            "toy.T: A is 'b', was 'a'",
            id="an enum's value",
        ),
        pytest.param(
            "class T(StrEnum):\n    A = 'a'\n    B = 'b'",
            "class T(StrEnum):\n    A = 'a'",
            "toy.T: B removed",
            id="a member gone",
        ),
        pytest.param("T = Literal['a', 'b']", "T = Literal['a']", "toy.T: 'b' removed", id="a choice that is gone"),
        pytest.param("T = Union[int, str]", "T = int | bytes", "toy.T: str removed", id="a type that is gone"),
        pytest.param("T = 1", "T = 2", "toy.T: value 2, was 1", id="a constant"),
    ],
)
def test_a_break_is_found(described_as, before, now, what) -> None:
    found = differences(described_as(before), described_as(now))

    assert what in "\n".join(f"{each.name}: {each.what}" for each in found if each.is_break)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param("", "def T(): ...", id="a new name"),
        pytest.param("def T(a): ...", "def T(a, b=1): ...", id="an optional argument"),
        pytest.param("def T(a): ...", "def T(a=1): ...", id="an argument that may be left out now"),
        pytest.param("def T(*, a): ...", "def T(a): ...", id="an argument that may be given by its place now"),
        pytest.param("def T(a: int): ...", "def T(a: str | int): ...", id="a wider type is taken"),
        pytest.param("def T() -> int | None: ...", "def T() -> int: ...", id="a narrower type is given"),
        pytest.param(READER, READER + MORE, id="a method with a default"),
        pytest.param(SPEC, SPEC + "    more: int = 0\n", id="a field with a default"),
        pytest.param("class T(KeyError): ...", "class T(KeyError, ABC): ...", id="one more base"),
        pytest.param("T = Literal['a']", "T = Literal['a', 'b']", id="a new choice"),
        pytest.param(
            "class T(StrEnum):\n    A = 'a'", "class T(StrEnum):\n    B = 'b'\n    A = 'a'", id="a new member"
        ),
    ],
)
def test_an_addition_is_found_and_breaks_nothing(described_as, before, now) -> None:
    found = differences(described_as(before), described_as(now))

    assert found
    assert not any(each.is_break for each in found)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param("def T(a): return 1", "def T(a): return 2", id="what a function does"),
        pytest.param(
            "class B:\n    def read(self) -> int: ...\nclass T(B): ...",
            "class T:\n    def read(self) -> int: ...",
            id="where a method is written",
        ),
        pytest.param("class T:\n    def _read(self): ...", "class T: ...", id="what is private"),
        pytest.param("T = frozenset({'a', 'b', 'c'})", "T = frozenset({'c', 'b', 'a'})", id="the order of a set"),
    ],
)
def test_what_no_user_sees_is_no_difference(described_as, before, now) -> None:
    assert differences(described_as(before), described_as(now)) == []


@pytest.mark.parametrize(
    ("last", "version", "may"),
    [
        ("0.1.0", "0.1.1", False),
        ("0.1.0", "0.2.0", True),
        ("0.1.3", "1.0.0", True),
        ("1.2.0", "1.3.0", False),
        ("1.2.0", "2.0.0", True),
    ],
)
def test_only_a_new_major_version_may_break_and_before_the_first_a_minor_one(last, version, may) -> None:
    assert record.may_break(last, version) is may


REASONED = '[[break]]\nname = "toy.T"\nversion = "{}"\nreason = "{}"'


@pytest.mark.parametrize(
    ("version", "declared", "problem"),
    [
        ("0.1.0", "", "not declared in breaks.toml"),
        ("0.2.0", "", "not declared in breaks.toml"),
        ("0.2.0", REASONED.format("0.2.0", " "), "not declared in breaks.toml"),
        ("0.1.1", REASONED.format("0.1.1", "why"), "0.1.1 after 0.1.0 may not break: the next that may is 0.2.0"),
        ("0.1.1", REASONED.format("0.2.0", "why"), "is declared for 0.2.0; 0.1.1 after 0.1.0 may not break"),
        ("0.3.0", REASONED.format("0.2.0", "why"), "is declared for 0.2.0; 0.3.0 after 0.1.0 is not that"),
    ],
)
def test_a_break_without_a_reason_or_a_version_is_forbidden(described_as, version, declared, problem) -> None:
    found = differences(described_as("def T(): ..."), described_as(""))

    (said,) = record.forbidden(found, "0.1.0", version, record.declared(declared))

    assert said.startswith("toy.T: removed: it breaks plugins")
    assert problem in said


def test_a_break_with_a_reason_and_a_version_that_may_break_is_allowed(described_as) -> None:
    found = differences(described_as("def T(): ..."), described_as(""))

    assert record.forbidden(found, "0.1.0", "0.2.0", record.declared(REASONED.format("0.2.0", "why"))) == []


def test_additions_wait_for_the_next_release_and_need_one(described_as) -> None:
    found = differences(described_as(""), described_as("def T(): ..."))

    assert record.forbidden(found, "0.1.0", "0.1.0", {}) == []
    assert record.forbidden(found, "0.1.0", "0.1.1", {}, is_release=True) == []
    assert record.forbidden(found, "0.1.0", "0.1.0", {}, is_release=True) == [
        "toy.T: added: needs a release after 0.1.0, this is 0.1.0"
    ]
