import hashlib
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

from dativo_ingest.plugin_process.finding import plugin_of_entry_point, plugin_of_file
from dativo_ingest.plugin_process.found import FoundPlugin, is_editable
from dativo_ingest.plugin_process.trust import sha256_of_code
from dativo_plugin_sdk.errors import SandboxError

PLUGIN = """\
import helping
from dativo_plugin_sdk import BaseReader


class Shop(BaseReader):
    __version__ = "1.0.0"

    def extract(self, state_manager=None):
        yield [{"n": helping.N}]
"""
MANIFEST = "api: 1\nname: shop-reader\nversion: 1.0.0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "deep").mkdir(parents=True)
    (folder / "shop.py").write_text(PLUGIN)
    (folder / "helping.py").write_text("N = 1\n")
    (folder / "deep" / "er.py").write_text("M = 1\n")
    (folder / "notes.txt").write_text("no code\n")
    return folder


def shop(folder: Path) -> FoundPlugin:
    return plugin_of_file("reader", f"{folder}/shop.py:Shop")


def with_venv(folder: Path) -> Path:
    site = folder / ".venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / ".venv" / "bin").mkdir()
    (folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\n")
    (folder / ".venv" / "lib64").symlink_to("lib")
    return site


def test_the_hash_is_of_a_list_as_sha256sum_prints_it(folder: Path) -> None:
    names = ["deep/er.py", "helping.py", "shop.py"]
    listed = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)

    assert sha256_of_code(shop(folder)) == hashlib.sha256(listed.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda at: (at / "shop.py").write_text(PLUGIN + "# more\n"), id="the plugin's file"),
        pytest.param(lambda at: (at / "helping.py").write_text("N = 2\n"), id="what it imports"),
        pytest.param(lambda at: (at / "deep" / "er.py").write_text("M = 2\n"), id="a module deeper down"),
        pytest.param(lambda at: (at / "json.py").write_text("evil = 1\n"), id="a module that shadows Python's own"),
        pytest.param(lambda at: (at / "helping.pyc").write_bytes(b"\0"), id="a compiled module"),
        pytest.param(
            lambda at: [
                (at / "__pycache__").mkdir(),
                (at / "__pycache__" / "helping.cpython-311.pyc").write_bytes(b""),
            ],
            id="a cached module",
        ),
        pytest.param(lambda at: (at / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b""), id="an extension"),
        pytest.param(lambda at: (at / "libfast.so.19").write_bytes(b""), id="a library"),
        pytest.param(lambda at: (at / "dativo-plugin.yaml").write_text(MANIFEST), id="a manifest"),
        pytest.param(lambda at: (with_venv(at) / "requests.py").write_text("evil = 1\n"), id="its own environment"),
        pytest.param(lambda at: (with_venv(at) / "a.pth").write_text("import evil\n"), id="what Python runs first"),
        pytest.param(with_venv, id="its own interpreter"),
        pytest.param(lambda at: (at / "other.py").symlink_to("notes.txt"), id="a link to a text within"),
    ],
)
def test_whatever_could_be_loaded_changes_the_hash(folder: Path, change: Callable[[Path], object]) -> None:
    before = sha256_of_code(shop(folder))

    change(folder)

    assert sha256_of_code(shop(folder)) != before


def test_what_is_no_code_does_not(folder: Path) -> None:
    before = sha256_of_code(shop(folder))

    (folder / "notes.txt").write_text("other notes\n")
    (folder / ".dativo").mkdir()
    (folder / ".dativo" / "state.db").write_bytes(b"1")

    assert sha256_of_code(shop(folder)) == before


def test_of_a_program_every_file_counts(tmp_path: Path) -> None:
    (tmp_path / "dativo-plugin.yaml").write_text(MANIFEST + "entrypoint: {reader: {command: [./run.sh]}}\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n. ./more.inc\n")
    (tmp_path / "more.inc").write_text("true\n")
    program = plugin_of_file("reader", f"{tmp_path}/dativo-plugin.yaml")
    before = sha256_of_code(program)

    (tmp_path / "more.inc").write_text("false\n")

    assert sha256_of_code(program) != before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda at: (at / "helping.py").chmod(0o666), "others may write", id="a file that others may write"
        ),
        pytest.param(lambda at: at.chmod(0o777), "others may write", id="a folder that others may write"),
        pytest.param(lambda at: (at / "deep").chmod(0o775), "others may write", id="a folder that a group may write"),
        pytest.param(lambda at: os.chown(at / "helping.py", 65532, -1), "another user", id="a file of another user"),
        pytest.param(lambda at: (at / "more").symlink_to(at.parent), "outside of", id="a link to a folder elsewhere"),
        pytest.param(
            lambda at: [(at.parent / "x.py").touch(), (at / "x.py").symlink_to("../x.py")],
            "outside of",
            id="a link to code elsewhere",
        ),
        pytest.param(
            lambda at: (with_venv(at) / "sdk.pth").write_text("/opt/elsewhere\n"), "outside of", id="code elsewhere"
        ),
    ],
)
def test_what_could_change_between_the_hash_and_the_run_has_none(
    folder: Path, change: Callable[[Path], object], says: str
) -> None:
    change(folder)

    with pytest.raises(SandboxError, match=says) as failure:
        sha256_of_code(shop(folder))

    assert failure.value.error_code == "SANDBOX_UNAVAILABLE"


def test_a_plugin_that_is_itself_a_link_has_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "shop.py").symlink_to(folder / "shop.py")

    with pytest.raises(SandboxError, match="outside of"):
        sha256_of_code(shop(tmp_path / "linked"))


def installed(folder: Path, *, origin: str | None = None) -> FoundPlugin:
    info = folder / "crm-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crm\nVersion: 1.0.0\n")
    (info / "RECORD").write_text("crm.py,,\n")
    if origin is not None:
        (info / "direct_url.json").write_text(origin)
    entry = EntryPoint("crm", "crm:Crm", "dativo.readers")._for(PathDistribution(info))  # type: ignore[attr-defined]  # as importlib.metadata makes them
    return plugin_of_entry_point("reader", entry)


def test_of_an_installed_plugin_it_is_the_hash_of_its_record(tmp_path: Path) -> None:
    assert sha256_of_code(installed(tmp_path)) == hashlib.sha256(b"crm.py,,\n").hexdigest()


def test_one_that_is_installed_for_editing_has_none(tmp_path: Path) -> None:
    editable = installed(tmp_path, origin='{"url": "file:///src/crm", "dir_info": {"editable": true}}')

    with pytest.raises(SandboxError, match="for editing"):
        sha256_of_code(editable)


@pytest.mark.parametrize("origin", ["not json", "[]", '{"dir_info": {}}', '{"url": "https://x/crm.whl"}'])
def test_any_other_origin_is_not_for_editing(origin: str, tmp_path: Path) -> None:
    (tmp_path / "direct_url.json").write_text(origin)

    assert not is_editable(PathDistribution(tmp_path))
