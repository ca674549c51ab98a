"""What does not fit by what a plugin's texts say is refused, and nothing of the plugin runs."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest
from hostile_readers import MakeReader

import dativo_plugin_sdk
from dativo_ingest.plugin_process.finding import plugin_of_entry_point, plugin_of_file
from dativo_ingest.plugin_process.version_checks import check_forms, check_said, sdk_of
from dativo_ingest.sandbox.manifest import load_manifest
from dativo_plugin_sdk import PluginVersionError
from dativo_plugin_sdk.streams import Partition, StreamSpec

HERE = dativo_plugin_sdk.__version__
SHOP = """
from dativo_plugin_sdk import BaseReader
raise SystemExit("this must never run")

class Shop(BaseReader):
    __version__ = "{version}"
    requires_sdk = "{requires}"
"""
ANY = ">=0"


@pytest.fixture
def shop(tmp_path: Path):
    """Write a plugin's file, and its manifest if there is one."""

    def write(version: str = "1.4", requires: str = ANY, manifest: str | None = None) -> str:
        (tmp_path / "shop.py").write_text(SHOP.format(version=version, requires=requires), encoding="utf-8")
        if manifest is not None:
            text = f"api: 1\nname: acme-shop\n{manifest}\nentrypoint: {{reader: shop.py:Shop}}\n"
            (tmp_path / "dativo-plugin.yaml").write_text(text, encoding="utf-8")
        return f"{tmp_path}/shop.py:Shop"

    return write


@pytest.fixture
def own_environment(tmp_path: Path):
    """Give the plugin an environment beside it, with an SDK of some version."""

    def make(sdk: str | None) -> Path:
        python = tmp_path / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        packages = tmp_path / ".venv" / "lib" / "python3.12" / "site-packages"
        packages.mkdir(parents=True)
        if sdk is not None:
            metadata = packages / f"dativo_plugin_sdk-{sdk}.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dativo-plugin-sdk\nVersion: {sdk}\n")
        return python

    return make


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"requires": ">=99"}, rf"^shop.py:Shop 1.4 requires dativo-plugin-sdk >=99, this engine has {HERE}$"),
        ({"requires": "<0.1"}, rf"^shop.py:Shop 1.4 requires dativo-plugin-sdk <0.1, this engine has {HERE}$"),
        ({"requires": "newest"}, "requires the SDK 'newest', which is no PEP 440 specifier"),
        ({"version": "one"}, "^shop.py:Shop has the version 'one', which is no PEP 440 version$"),
        ({"manifest": "version: 1.5.0"}, "^dativo-plugin.yaml is of version 1.5.0, acme-shop is 1.4$"),
        (
            {"manifest": "version: '1.4'\nstate_version: 2"},
            "has state_version: 2, acme-shop 1.4 has 1",
        ),
        ({"manifest": "version: '1.4'\nrequires_sdk: '>=99'"}, f"acme-shop 1.4 requires .*>=0,>=99, .* has {HERE}"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_code_runs(shop, plugin: dict[str, str], message: str) -> None:
    with pytest.raises(PluginVersionError, match=message) as caught:
        plugin_of_file("reader", shop(**plugin))

    assert caught.value.hint


def test_a_plugin_with_an_environment_of_its_own_goes_by_the_sdk_that_is_there(shop, own_environment) -> None:
    own_environment("99.1")

    found = plugin_of_file("reader", shop(requires=">=99"))

    assert found.requires_sdk == ">=99"
    with pytest.raises(PluginVersionError, match=r"requires dativo-plugin-sdk <1, its environment has 99\.1"):
        plugin_of_file("reader", shop(requires="<1"))


def test_of_an_environment_without_an_sdk_to_be_seen_nothing_is_said_yet(shop, own_environment) -> None:
    python = own_environment(None)

    assert sdk_of(python) is None
    assert plugin_of_file("reader", shop(requires=">=99")).python == python


def test_an_installed_plugin_goes_by_its_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop) -> None:
    shop()
    metadata = tmp_path / "acme-1.4.dist-info"
    metadata.mkdir()
    text = "Metadata-Version: 2.1\nName: acme\nVersion: 1.4\n{}\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("shop", "shop:Shop", "dativo.readers")

    def found(*lines: str):
        (metadata / "METADATA").write_text(text.format("\n".join(lines)), encoding="utf-8")
        vars(entry).update(dist=next(iter(Distribution.discover(name="acme", path=[str(tmp_path)]))))
        return plugin_of_entry_point("reader", entry)

    assert found("Requires-Dist: dativo-plugin-sdk<9", "Requires-Python: >=3.11").requires_sdk == ">=0,<9"
    with pytest.raises(PluginVersionError, match=r"shop 1\.4 requires dativo-plugin-sdk >=0,>9, this engine has"):
        found("Requires-Dist: dativo-plugin-sdk>9")
    with pytest.raises(PluginVersionError, match=r"shop 1.4 requires Python <3, this engine runs with 3\."):
        found("Requires-Python: <3")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"version": "one"}, "has the version 'one'"),
        ({"version": "2.0"}, "dativo-plugin.yaml is of version 1.4, acme-shop is 2.0"),
        ({"pinned": "~=1.5"}, "source.version asks for ~=1.5, acme-shop is 1.4"),
        ({"requires_sdk": ">=99"}, f"acme-shop 1.4 requires dativo-plugin-sdk >=99,>=0, this engine has {HERE}"),
        ({"sdk": "99.1", "requires_sdk": "<99"}, r"acme-shop 1.4 requires .* <99,>=0, this engine has 99\.1"),
    ],
)
def test_what_a_plugin_says_once_it_is_imported_is_checked_again(shop, said: dict[str, str], message: str) -> None:
    plugin = plugin_of_file("reader", shop(manifest="version: '1.4'"))
    nothing = {"version": None, "requires_sdk": None, "sdk": HERE, "pinned": None}

    assert check_said(plugin, **nothing, key="source.version") == "1.4"
    with pytest.raises(PluginVersionError, match=message):
        check_said(plugin, **{**nothing, **said}, key="source.version")


@pytest.mark.parametrize(
    ("declared", "said", "fits"),
    [("", 3, True), ("state_version: 3", 3, True), ("state_version: 3", None, True), ("state_version: 3", 1, False)],
)
def test_a_manifest_and_its_class_speak_of_the_same_states(shop, tmp_path: Path, declared: str, said, fits) -> None:
    shop(manifest=f"version: '1.4'\n{declared}")
    manifest = load_manifest(tmp_path / "dativo-plugin.yaml")

    with nullcontext() if fits else pytest.raises(PluginVersionError, match="has state_version: 3, acme-shop has 1"):
        check_forms("reader", {"state_version": said}, manifest, where="acme-shop")
    check_forms("writer", {"state_version": said}, manifest, where="acme-shop")


def test_a_plugin_without_an_sdk_goes_by_the_engine_s(shop) -> None:
    plugin = plugin_of_file("reader", shop(requires="==" + HERE))

    assert check_said(plugin, version=None, requires_sdk=None, sdk=None, pinned=None, key="") == "1.4"


def test_no_plugin_in_any_language_is_asked_about_a_state_that_it_is_too_old_for(hostile: MakeReader) -> None:
    reader = hostile("read", "crash")
    orders = StreamSpec("orders")

    with pytest.raises(PluginVersionError, match=r"the state of orders has version 9, hostile 1\.0 knows .* version 1"):
        next(reader.read(orders, Partition("all"), {"_state_version": 9}))
