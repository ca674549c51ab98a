"""Which versions go together, and what a misfit says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dativo_plugin_sdk import BaseReader, BaseWriter, PluginVersionError
from dativo_plugin_sdk.versioned import own_version
from dativo_plugin_sdk.versions import (
    check_declared,
    check_pin,
    check_plugin,
    check_requires_sdk,
    check_version,
    negotiate,
    specifier,
)


class Shop(BaseReader):
    __version__ = "1.4"

    def extract(self, state_manager=None):
        yield []


class Lazy(BaseReader):
    def extract(self, state_manager=None):
        yield []


def test_a_plugin_counts_as_of_the_version_that_it_says_itself():
    assert own_version(Shop) == "1.4"
    assert own_version(type("Corner", (Shop,), {})) == "1.4"
    assert own_version(Lazy) is None
    assert own_version(BaseWriter) is None
    assert own_version(object) is None


@pytest.mark.parametrize("version", ["1", "1.4.0", "2!1.0", "1.0rc1", "1.0.post1", "1.0+local.7"])
def test_a_version_is_one_that_pep_440_knows(version):
    check_version(version, where="shop")


@pytest.mark.parametrize("version", ["", "one", "1.4 beta", "1..4", "v", "1.4\n1.5", "\u0661"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(PluginVersionError, match=r"^shop has the version .* is no PEP 440 version$"):
        check_version(version, where="shop")


@pytest.mark.parametrize(
    ("required", "sdk"),
    [
        (None, "0.1.0"),
        (">=0.1", "0.1.0"),
        (">=0.1,<1", "0.9"),
        ("~=0.1", "0.2"),
        (">=0.1", "0.2.0.dev1"),
        ("0.1", "0.1.0"),
    ],
)
def test_a_plugin_goes_with_an_sdk_that_it_asks_for(required, sdk):
    check_requires_sdk(required, sdk, where="shop 1.4")


@pytest.mark.parametrize(
    ("required", "sdk"), [(">=0.2", "0.1.0"), ("<0.1", "0.1.0"), (">=0.1,<0.3", "0.3.0"), ("0.1", "0.1.1")]
)
def test_an_sdk_too_old_or_too_new_is_refused_with_both_versions(required, sdk):
    with pytest.raises(PluginVersionError) as caught:
        check_requires_sdk(required, sdk, where="shop 1.4", whose="its environment")

    assert str(caught.value) == f"shop 1.4 requires dativo-plugin-sdk {required}, its environment has {sdk}"
    assert caught.value.details == {"requires_sdk": required, "sdk": sdk}
    assert "environment of its own" in caught.value.hint


@pytest.mark.parametrize("required", ["newest", [7], ">=", b">=0.1"])
def test_a_requirement_that_is_none_is_refused(required):
    with pytest.raises(PluginVersionError, match="which is no PEP 440 specifier"):
        check_requires_sdk(required, "0.1.0", where="shop 1.4")


def test_a_class_is_checked_as_soon_as_it_is_imported():
    check_plugin(Shop, where="shop.py:Shop", sdk="0.1.0")
    check_plugin(Lazy, where="shop.py:Lazy", sdk="0.1.0")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"__version__": "one"}, "shop has the version 'one'"),
        ({"requires_sdk": ">=9"}, "shop 1.4 requires dativo-plugin-sdk >=9, this engine has 0.1.0"),
        ({"state_version": 0}, "shop has the state_version 0, expected a whole number from 1 on"),
        ({"state_version": "2"}, "shop has the state_version '2'"),
        ({"config_version": True}, "shop has the config_version True"),
        ({"config_version": None}, "shop has the config_version None"),
    ],
)
def test_a_class_with_a_version_that_is_wrong_is_refused(attributes, message):
    wrong = type("Wrong", (Shop,), attributes)

    with pytest.raises(PluginVersionError) as caught:
        check_plugin(wrong, where="shop", sdk="0.1.0")

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("pinned", [None, "1.4", "1.4.0", "==1.4", "~=1.3", ">=1,<2", "!=1.3"])
def test_a_job_gets_the_version_of_a_plugin_that_it_asks_for(pinned):
    check_pin("1.4", pinned, where="shop", key="source.version")


@pytest.mark.parametrize("pinned", ["1.5", "~=1.5", ">=2", "<1.4"])
def test_another_version_than_the_job_asks_for_is_refused_with_both(pinned):
    with pytest.raises(PluginVersionError) as caught:
        check_pin("1.4", pinned, where="shop", key="source.version")

    assert str(caught.value) == f"source.version asks for {pinned}, shop is 1.4"
    assert "change source.version" in caught.value.hint


def test_a_manifest_and_its_class_are_of_one_release():
    check_declared("1.4", None, where="shop.py", by="dativo-plugin.yaml")
    check_declared("1.4", "1.4.0", where="shop.py", by="dativo-plugin.yaml")

    with pytest.raises(PluginVersionError, match=r"^dativo-plugin.yaml is of version 1.5, shop.py is 1.4$"):
        check_declared("1.4", "1.5", where="shop.py", by="dativo-plugin.yaml")


def test_of_the_protocols_that_both_speak_the_newest_is_chosen():
    assert negotiate([1], [1], where="shop", sdk="0.1.0", engine="0.1.0") == 1
    assert negotiate([1, 2, 3], [2, 1], where="shop", sdk="0.1.0", engine="0.1.0") == 2


@pytest.mark.parametrize(
    ("theirs", "ours", "sdk", "message", "hint"),
    [
        (
            [2],
            [1],
            "0.4.0",
            "shop speaks protocol 2 (dativo-plugin-sdk 0.4.0), this engine speaks 1 (dativo-plugin-sdk 0.1.0)",
            "upgrade dativo-ingest, or install dativo-plugin-sdk 0.1.0",
        ),
        (
            [1],
            [2, 3],
            "0.0.9",
            "shop speaks protocol 1 (dativo-plugin-sdk 0.0.9), this engine speaks 2, 3 (dativo-plugin-sdk 0.1.0)",
            "upgrade the plugin, and dativo-plugin-sdk",
        ),
        (
            [],
            [1],
            None,
            "shop speaks protocol none, this engine speaks 1 (dativo-plugin-sdk 0.1.0)",
            "upgrade the plugin",
        ),
    ],
)
def test_without_a_protocol_in_common_both_sides_and_the_way_out_are_named(theirs, ours, sdk, message, hint):
    with pytest.raises(PluginVersionError) as caught:
        negotiate(theirs, ours, where="shop", sdk=sdk, engine="0.1.0")

    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)


def test_a_version_alone_stands_for_itself():
    assert specifier("1.4") == specifier("==1.4")
    with pytest.raises(ValueError, match="newest"):
        specifier("newest")


def test_a_plugin_that_asks_for_nothing_waits_for_no_import():
    script = (
        "import sys; from dativo_plugin_sdk.versions import check_plugin; from dativo_plugin_sdk import BaseReader;"
        "check_plugin(BaseReader, where='x', sdk='0.1.0'); assert 'packaging' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
