"""What a plugin's text and metadata tell of its versions, without running any of it."""

from __future__ import annotations

from functools import partial
from importlib.metadata import Distribution, EntryPoint

import pytest

from dativo_ingest.plugin_process.static_facts import (
    StaticFacts,
    both,
    facts_of_entry_point,
    facts_of_file,
    facts_of_module,
    with_distribution,
)
from dativo_plugin_sdk import PluginLoadError

SHOP = """
import dativo_plugin_sdk as sdk
from abc import ABC
from typing import Generic, TypeVar
from dativo_plugin_sdk import BaseReader, StreamReader

raise SystemExit("this must never run")
{rest}
"""
UNKNOWN = StaticFacts()
certain = partial(StaticFacts, version_is_certain=True)
NOTHING_SAID = certain(state_version=1, config_version=1)


@pytest.fixture
def facts(tmp_path):
    def of(rest: str) -> StaticFacts:
        path = tmp_path / "shop.py"
        path.write_text(SHOP.format(rest=rest), encoding="utf-8")
        return facts_of_file(path, "Shop")

    return of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "class Shop(BaseReader):\n    __version__ = '1.4'\n    requires_sdk: str = '>=0.1'\n"
            "    state_version = 3\n    config_version = 2",
            certain("1.4", ">=0.1", None, 3, 2),
            id="the class itself",
        ),
        pytest.param("class Shop(BaseReader): pass", NOTHING_SAID, id="nothing"),
        pytest.param("class Shop(sdk.BaseReader): pass", NOTHING_SAID, id="a base by its module"),
        pytest.param("class Shop(StreamReader, ABC, Generic[T]): pass", NOTHING_SAID, id="bases that tell nothing"),
        pytest.param(
            "VERSION: str = '2.0'\n__version__ = '1.5'\n"
            "class Shop(BaseReader):\n    __version__ = __version__\n    requires_sdk = VERSION",
            certain("1.5", "2.0", None, 1, 1),
            id="constants of the module",
        ),
        pytest.param(
            "class Api(BaseReader):\n    __version__ = '1.1'\n    state_version = 2\n"
            "class Shop(Api):\n    state_version = 3",
            certain("1.1", None, None, 3, 1),
            id="a base in the file",
        ),
        pytest.param("class Shop(BaseReader):\n    __version__ = 1.5", certain("1.5", None, None, 1, 1), id="a number"),
        pytest.param(
            "@final\n@dataclass(slots=True)\nclass Shop(BaseReader, metaclass=ABCMeta):\n    state_version = 2",
            certain(None, None, None, 2, 1),
            id="harmless decorators",
        ),
    ],
)
def test_what_a_class_says_is_read_from_the_text(facts, text, expected):
    assert facts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("class Other(BaseReader): pass", id="no such class"),
        pytest.param("class Shop(Unheard): state_version = 1 if x else 2", id="an expression"),
        pytest.param("class Shop(Unheard): pass", id="a base nobody defines"),
        pytest.param("from requests import Session\nclass Shop(Session): pass", id="a base from elsewhere"),
        pytest.param("class Shop(make()): pass", id="a base that is made"),
        pytest.param("class Shop(Shop): pass", id="a class that is its own base"),
        pytest.param("if x:\n    class Shop(BaseReader): pass", id="a class under a condition"),
        pytest.param("class Shop(BaseReader): pass\nShop = other(Shop)", id="a class that is replaced"),
        pytest.param("@register\nclass Shop(BaseReader): pass", id="a decorator that may change it"),
        pytest.param("class Shop(BaseReader, metaclass=Meta): pass", id="a metaclass that may change it"),
        pytest.param("def f(:", id="no Python"),
        pytest.param("x = " + "(" * 500, id="nested without end"),
        pytest.param("\0", id="a null byte"),
    ],
)
def test_what_only_running_would_tell_is_unknown(facts, text):
    assert facts(text) == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "class Shop(BaseReader):\n    state_version = next_version()",
        "N = 2\nN = 3\nclass Shop(BaseReader):\n    state_version = N",
        "N = 2\nif x:\n    N = 3\nclass Shop(BaseReader):\n    state_version = N",
        "class Shop(BaseReader):\n    state_version = 2\n    state_version += 1",
        "class Shop(BaseReader):\n    if x:\n        state_version = 2",
        "class Shop(BaseReader):\n    state_version = 2\nShop.state_version = 3",
        "class Shop(BaseReader):\n    state_version = 'two'",
        "class Shop(BaseReader):\n    state_version = True",
        "class A(BaseReader): state_version = 2\nclass B(BaseReader): state_version = 3\nclass Shop(A, B): pass",
    ],
)
def test_one_attribute_that_may_change_is_unknown_and_the_others_are_not(facts, text):
    assert facts(text) == certain(config_version=1)


def test_a_base_in_a_file_beside_it_is_looked_at(facts, tmp_path):
    (tmp_path / "api.py").write_text(
        "from dativo_ingest.plugins import BaseReader\nclass Api(BaseReader):\n    __version__ = '7'\n",
        encoding="utf-8",
    )

    assert facts("from api import Api as Base\nclass Shop(Base): pass") == certain("7", None, None, 1, 1)


def test_a_file_that_cannot_be_read_is_a_load_error(tmp_path):
    with pytest.raises(PluginLoadError, match="cannot be read"):
        facts_of_file(tmp_path, "Shop")


@pytest.fixture
def package(tmp_path):
    """An installed plugin whose class is exported by its package and written in a module of it."""
    folder = tmp_path / "site" / "shop"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from .reader import Shop\nraise SystemExit\n", encoding="utf-8")
    (folder / "reader.py").write_text(
        SHOP.format(rest="class Shop(BaseReader):\n    requires_sdk = '<0.9'\n    state_version = 2"), encoding="utf-8"
    )
    metadata = folder.parent / "shop-1.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shop\nVersion: 1.3\nRequires-Python: >=3.11\n"
        "Requires-Dist: requests\nRequires-Dist: dativo_plugin.SDK[all]>=0.1 ; extra == 'never'\n"
        "Requires-Dist: Dativo_Plugin.SDK>=0.1; python_version > '3'\n",
        encoding="utf-8",
    )
    return folder.parent


def test_a_class_that_a_package_exports_is_followed_to_its_module(package):
    assert facts_of_module("shop", "Shop", [package]) == certain(None, "<0.9", None, 2, 1)
    assert facts_of_module("shop.reader", "Shop", [package]) == facts_of_module("shop", "Shop", [package])
    assert facts_of_module("shop.writer", "Shop", [package]) == UNKNOWN


def test_a_distribution_adds_its_version_and_what_it_requires(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package))
    found = next(iter(Distribution.discover(name="shop", path=[str(package)])))
    entry = EntryPoint("shop", "shop:Shop", "dativo.readers")
    vars(entry).update(dist=found)

    facts = facts_of_entry_point(entry)

    assert facts == certain("1.3", "<0.9,>=0.1", ">=3.11", 2, 1)
    assert with_distribution(StaticFacts(version="1.4"), found).version == "1.4", "the class's own goes first"


def test_two_specifiers_become_one_that_asks_for_both():
    assert both(None, None) is None
    assert both(">=1", None) == both(None, ">=1") == both(">=1", " >=1") == ">=1"
    assert both(">=1,<3", "<2") == ">=1,<3,<2"
