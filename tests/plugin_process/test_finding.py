import hashlib
import sys
from pathlib import Path

import pytest

from dativo_ingest.plugin_process.finding import plugin_of_file
from dativo_plugin_sdk.errors import PluginLoadError

READER = 'class Shop:\n    __version__ = "1.4.0"\n'


def manifest(folder: Path, entrypoint: str) -> Path:
    path = folder / "dativo-plugin.yaml"
    path.write_text(f"api: 1\nname: shop-reader\nversion: 1.4.0\nentrypoint: {{reader: {entrypoint}}}\n")
    return path


def sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def test_a_plugin_in_a_file_is_hashed_by_the_file_and_has_the_manifest_beside_it(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(READER)
    manifest(tmp_path, "shop.py:Shop")

    found = plugin_of_file("reader", f"{tmp_path}/shop.py:Shop")

    assert found.sha256 == sha256(tmp_path / "shop.py")
    assert (found.title, found.version, found.python) == ("shop-reader", "1.4.0", Path(sys.executable))


def test_a_program_is_hashed_with_its_manifest_and_its_files(tmp_path: Path) -> None:
    path = manifest(tmp_path, "{command: [./reader, --fast]}")
    (tmp_path / "reader").write_text("#!/bin/sh\n")

    found = plugin_of_file("reader", str(path))

    assert found.command == (f"{tmp_path}/reader", "--fast")
    assert found.sha256 == sha256(path, tmp_path / "reader")


def test_a_module_is_looked_for_in_the_plugins_own_environment_and_hashed(tmp_path: Path) -> None:
    path = manifest(tmp_path, "shop.reading:Shop")
    package = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "reading.py").write_text(READER)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.touch()

    found = plugin_of_file("reader", str(path))

    assert found.python == python
    assert found.sha256 == sha256(path, package / "reading.py")


def test_a_manifest_without_an_entry_of_the_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginLoadError, match="has no writer"):
        plugin_of_file("writer", str(manifest(tmp_path, "shop.py:Shop")))
