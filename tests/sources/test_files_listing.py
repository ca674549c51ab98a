"""Which files a path stands for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_reading import config, read_stream

from dativo_ingest.sources.csv import CsvReader
from dativo_ingest.sources.file_config import FileConnection, FileCredentials
from dativo_ingest.sources.file_listing import FileStore
from dativo_plugin_sdk import DataNotFoundError, InsufficientPermissionsError, InvalidConfigError, StreamSpec, Warned
from dativo_plugin_sdk.errors import error_from_dict


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.csv",
        "a.csv",
        "A.CSV",
        "c.csv.gz",
        "d.tsv.zst",
        "notes.txt",
        ".hidden.csv",
        "_part.csv",
        "x/b.csv",
        "x/y/c.csv",
        "_temporary/t.csv",
        ".git/g.csv",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


def _listed(root: Path, path: str) -> list[str]:
    store = FileStore(FileConnection(), FileCredentials())
    files = store.list(f"{root}/{path}" if path else str(root), (".csv", ".tsv"))
    return [os.path.relpath(file.path, root) for file in files]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("", ["A.CSV", "a.csv", "b.csv", "c.csv.gz", "d.tsv.zst", "x/b.csv", "x/y/c.csv"], id="folder"),
        pytest.param("x/", ["x/b.csv", "x/y/c.csv"], id="folder with a slash"),
        pytest.param("*.csv", ["_part.csv", "a.csv", "b.csv"], id="star stays in its folder"),
        pytest.param("[ab].csv", ["a.csv", "b.csv"], id="set"),
        pytest.param("?.csv", ["a.csv", "b.csv"], id="one character"),
        pytest.param("**/*.csv", ["_part.csv", "a.csv", "b.csv", "x/b.csv", "x/y/c.csv"], id="two stars cross folders"),
        pytest.param("**/c.csv", ["x/y/c.csv"], id="two stars, then a name"),
        pytest.param("x/**", ["x/b.csv", "x/y/c.csv"], id="two stars at the end"),
        pytest.param("*/b.csv", ["x/b.csv"], id="star for a folder"),
        pytest.param(".*.csv", [".hidden.csv"], id="hidden where asked for"),
        pytest.param("notes.txt", ["notes.txt"], id="one file, whatever its suffix"),
    ],
)
def test_a_path_stands_for_files_in_order_of_their_names(tree: Path, path: str, expected: list[str]) -> None:
    listed = _listed(tree, path)

    assert listed == expected


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].csv").write_bytes(b"")
    (tmp_path / "a1.csv").write_bytes(b"")

    listed = _listed(tmp_path, "a[1].csv")

    assert listed == ["a[1].csv"]


def test_a_link_that_leads_back_up_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(b"")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")

    listed = _listed(tmp_path, "in")

    assert "in/a.csv" in listed
    assert len(listed) <= 2


@pytest.mark.parametrize("path", ["none.csv", "*.parquet", "nowhere/*.csv", "nowhere", "x/y/z/**"])
def test_a_path_without_files_is_data_not_found(tree: Path, path: str) -> None:
    with pytest.raises(DataNotFoundError, match="no file matches") as caught:
        _listed(tree, path)

    assert caught.value.hint


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="not gs://"):
        _listed(Path("gs:/"), "/bucket/a.csv")


@pytest.mark.parametrize("denied", ["file", "folder"])
def test_what_may_not_be_read_is_a_permission_error(tmp_path: Path, denied: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("id\n1\n")
    (folder if denied == "folder" else folder / "a.csv").chmod(0)
    program = (
        "import json, os, sys\n"
        "from dativo_ingest.sources.csv import CsvReader\n"
        "from dativo_plugin_sdk import DativoError, SourceConfig, StreamSpec\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "reader = CsvReader(SourceConfig(type='csv', connection={'path': sys.argv[1]}))\n"
        "try:\n"
        "    reader.schema(StreamSpec('s'))\n"
        "except DativoError as error:\n"
        "    print(json.dumps(error.to_dict()))\n"
    )
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)

    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "*.csv")], capture_output=True, text=True, check=True, timeout=60
    )
    folder.chmod(0o755)

    error = error_from_dict(json.loads(done.stdout))
    assert isinstance(error, InsufficientPermissionsError)
    assert "permission denied" in str(error)
    assert str(folder) in str(error)


def test_a_stream_has_its_own_path_before_the_connections(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    (tmp_path / "b.csv").write_text("id\n2\n")

    reading = read_stream(CsvReader(config(tmp_path / "a.csv")), options={"path": str(tmp_path / "b.csv")})

    assert reading.rows == [{"id": 2}]


def test_without_any_path_the_configuration_is_wrong() -> None:
    reader = CsvReader(config("x").model_copy(update={"connection": {}}))

    with pytest.raises(InvalidConfigError, match="no path"):
        reader.schema(StreamSpec("s"))


@pytest.mark.parametrize(
    ("connection", "options", "message"),
    [
        pytest.param({"pth": "x"}, {}, r"source\.connection\.pth: unknown key, did you mean path", id="connection"),
        pytest.param(
            {}, {"delimeter": ";"}, r"source\.options\.delimeter: unknown key, did you mean delimiter", id="options"
        ),
        pytest.param({"compression": "rar"}, {}, r"source\.connection\.compression", id="compression"),
    ],
)
def test_a_wrong_key_is_refused_when_the_reader_is_made(
    connection: dict[str, str], options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        CsvReader(config("x", **options).model_copy(update={"connection": connection}))


def test_streams_are_the_files_by_their_stems_and_by_folders_where_stems_meet(tree: Path) -> None:
    (tree / "x/c.csv").write_bytes(b"")

    names = CsvReader(config(tree / "**/*.csv")).streams()

    assert names == {
        "_part": {"path": f"{tree}/_part.csv"},
        "a": {"path": f"{tree}/a.csv"},
        f"{tree.name}.b": {"path": f"{tree}/b.csv"},
        "x.b": {"path": f"{tree}/x/b.csv"},
        "x.c": {"path": f"{tree}/x/c.csv"},
        "y.c": {"path": f"{tree}/x/y/c.csv"},
    }


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        pytest.param(["orders", "users"], True, id="another name beside it"),
        pytest.param(["orders", "orders_2"], False, id="more of the same"),
        pytest.param(["orders"], False, id="the file alone"),
        pytest.param(["a", "b"], False, id="no file of that name"),
    ],
)
def test_a_stream_called_like_one_of_several_files_reads_all_and_says_so(
    tmp_path: Path, names: list[str], warned: bool
) -> None:
    for name in names:
        (tmp_path / f"{name}.csv").write_text("id\n1\n")

    reading = read_stream(CsvReader(config(tmp_path)), name="orders")

    assert len(reading.rows) == len(names)
    assert ["reads all 2 files" in warning.message for warning in reading.of(Warned)] == [True] * warned
