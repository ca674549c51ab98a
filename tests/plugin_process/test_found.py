import hashlib
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from dativo_ingest.plugin_process.found import sha256_of_distribution, sha256_of_files
from dativo_plugin_sdk.errors import PluginLoadError


def test_a_files_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "shop.py"
    path.write_bytes(b"x" * (2**20 + 1))

    assert sha256_of_files(path) == hashlib.sha256(b"x" * (2**20 + 1)).hexdigest()


def test_a_file_that_cannot_be_read_is_an_error_of_loading(tmp_path: Path) -> None:
    with pytest.raises(PluginLoadError, match="cannot be read"):
        sha256_of_files(tmp_path / "shop.py")


def test_a_distributions_hash_is_that_of_the_list_of_its_files(tmp_path: Path) -> None:
    info = tmp_path / "shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    without = sha256_of_distribution(Distribution.at(info))
    (info / "RECORD").write_text("shop.py,sha256=abc,3\n")

    found = sha256_of_distribution(Distribution.at(info))

    assert found == hashlib.sha256(b"shop.py,sha256=abc,3\n").hexdigest() != without
