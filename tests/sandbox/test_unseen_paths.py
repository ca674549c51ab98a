"""What a job's connection names and its plugin's sandbox would not show is told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from dativo_ingest.sandbox.asked import EndConfig
from dativo_ingest.sandbox.grant import Applicant, Grant
from dativo_ingest.sandbox.unseen_paths import refuse_unseen
from dativo_plugin_sdk.errors import InsufficientPermissionsError

PLUGIN = Applicant("shop.py:Shop", "", None, "a dativo-plugin.yaml beside shop.py")


def end(which: Literal["source", "target"], folder: Path, **connection: Any) -> EndConfig:
    return EndConfig(which, folder, connection)


def test_a_target_that_nothing_grants_is_refused_with_the_line_that_its_manifest_needs(tmp_path: Path) -> None:
    with pytest.raises(InsufficientPermissionsError, match=f"may not write {tmp_path}/lake") as caught:
        refuse_unseen(PLUGIN, tmp_path, end("target", tmp_path, path="lake"), Grant(read=(str(tmp_path),)))

    assert caught.value.hint == (
        'let a dativo-plugin.yaml beside shop.py have capabilities: {filesystem: {write: ["config:connection.path"]}}'
    )
    assert caught.value.details["key"] == "capabilities.filesystem.write"


def test_a_source_that_is_there_and_that_nothing_grants_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").touch()

    with pytest.raises(InsufficientPermissionsError, match=f"may not read {tmp_path}/in"):
        refuse_unseen(PLUGIN, None, end("source", tmp_path, path=["nowhere", "in"]), Grant())


@pytest.mark.parametrize(
    ("which", "connection", "grant"),
    [
        pytest.param("target", {"path": "lake/raw"}, {"write": ["lake"]}, id="a folder of what is granted"),
        pytest.param("target", {"path": "s3://lake/raw"}, {}, id="no path of this machine"),
        pytest.param("target", {"path": ":memory:"}, {}, id="no path at all"),
        pytest.param("target", {"url": "lake"}, {}, id="another key"),
        pytest.param("source", {"path": "in"}, {"read": ["in"]}, id="what it may read"),
        pytest.param("source", {"path": "in"}, {"write": ["in"]}, id="what it may write"),
        pytest.param("source", {"path": "nowhere"}, {}, id="what is not there"),
        pytest.param("source", {"path": "own/data"}, {}, id="its own folder"),
        pytest.param("target", {"path": "lake", "sslkey": "own/key"}, {"write": ["lake"]}, id="a key that is read"),
    ],
)
def test_what_it_sees_is_let_be(
    tmp_path: Path, which: Literal["source", "target"], connection: dict[str, str], grant: dict[str, list[str]]
) -> None:
    for name in ("in", "own/data", "own/key"):
        (tmp_path / name).mkdir(parents=True)
    granted = Grant(**{key: tuple(str(tmp_path / each) for each in paths) for key, paths in grant.items()})

    refuse_unseen(PLUGIN, tmp_path / "own", end(which, tmp_path, **connection), granted)
