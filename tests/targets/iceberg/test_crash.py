"""A process that dies at any moment leaves the table as it was, and the next run lands each row once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iceberg_lake import NUMBERS, REJECTED, Lake, numbers

BEFORE_THE_COMMIT = ["after the data files", "after the manifests", "after the metadata file"]
AFTER_THE_COMMIT = ["after the commit", "inside the publication", "after the publication"]

Die = Callable[[Lake, str, str], None]


def run_and_die(folder: str, moment: str, write: Any) -> None:
    """Be a run that is killed at a moment of its commit."""
    from dativo_ingest.targets.iceberg import embedded, merge, quarantine, table

    def die(*_: object, **__: object) -> None:
        os._exit(9)

    with Lake(Path(folder)).run(NUMBERS, write=write, primary_key=("id",)) as run:
        run.table.write(numbers(7, 8, 9))
        run.table.quarantine(REJECTED)
        if moment == "after the data files":
            table.stage_snapshot = table.stage_delta = die
        elif moment == "after the delete files":
            merge._Unchanged = die
        elif moment == "after the manifests":
            embedded.EmbeddedCatalog.commit_table = die
        elif moment == "after the metadata file":
            embedded.EmbeddedCatalog._swap = die
        elif moment == "after the commit":
            quarantine.Quarantine.publish = lambda _, state, *__: die() if state.quarantine else None
        elif moment == "inside the publication":
            swap = embedded.EmbeddedCatalog._swap
            embedded.EmbeddedCatalog._swap = lambda self, name, old, new: (
                die() if old and "__quarantine" in name[-1] else swap(self, name, old, new)
            )
        else:
            publish = table.IcebergTable._publish
            table.IcebergTable._publish = lambda *arguments: (publish(*arguments), die())
        run.commit({"at": 9})


def serve() -> None:
    """Import everything once, then die in a fork for each line that comes in: (folder, moment, write)."""
    import pyiceberg.io.pyarrow  # noqa: F401

    import dativo_ingest.targets.iceberg.table  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run_and_die(*json.loads(line))
            finally:
                os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def die() -> Any:
    """Lets a run die; the runs are forks of one process, which spares each of them the imports."""
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "support")]
    code = f"import sys; sys.path += {path!r}; import test_crash; test_crash.serve()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(lake: Lake, moment: str, write: str = "append") -> None:
            server.stdin.write(json.dumps([str(lake.folder), moment, write]).encode() + b"\n")
            server.stdin.flush()
            assert server.stdout.readline() == b"9\n"

        yield ask


@pytest.mark.parametrize("moment", BEFORE_THE_COMMIT)
@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_a_crash_before_the_commit_leaves_the_table_as_it_was(lake: Lake, moment: str, write: Any, die: Die) -> None:
    lake.load(numbers(1), state={"at": 1})

    die(lake, moment, write)

    assert lake.values() == [1]
    with lake.run(None) as run:
        assert run.before.state == {"at": 1}
    assert lake.rows("t__quarantine").num_rows == 0
    lake.load(numbers(7, 8, 9), rejected=REJECTED, state={"at": 9}, write=write, primary_key=("id",))
    assert lake.values() == ([7, 8, 9] if write == "overwrite" else [1, 7, 8, 9])
    assert lake.rows("t__quarantine").num_rows == 1


@pytest.mark.parametrize("moment", ["after the delete files", *BEFORE_THE_COMMIT])
def test_a_merge_that_dies_before_its_commit_has_deleted_nothing_and_is_done_by_the_next_run(
    lake: Lake, moment: str, die: Die
) -> None:
    ids = [*range(7, 30)]
    lake.load(numbers(*ids), state={"at": 1})

    die(lake, moment, "merge")

    assert lake.values() == ids
    with lake.table() as table:
        assert len(table.snapshots()) == 1
    receipt = lake.load(numbers(7, 8, 9, 30), state={"at": 9}, write="merge", primary_key=("id",))
    assert (receipt.inserted, receipt.updated) == (1, 3)
    assert lake.values() == [*ids, 30]


@pytest.mark.parametrize("moment", BEFORE_THE_COMMIT)
def test_a_crash_before_the_first_commit_leaves_no_table_and_the_next_run_creates_it(
    lake: Lake, moment: str, die: Die
) -> None:
    die(lake, moment, "append")

    assert not lake.exists()
    lake.load(numbers(7, 8, 9), rejected=REJECTED, state={"at": 9})
    assert lake.values() == [7, 8, 9]
    assert lake.rows("t__quarantine").num_rows == 1


@pytest.mark.parametrize("moment", AFTER_THE_COMMIT)
def test_a_crash_after_the_commit_has_its_rejected_rows_published_once_by_the_next_run(
    lake: Lake, moment: str, die: Die
) -> None:
    die(lake, moment, "append")
    left = lake.rows("t__quarantine").num_rows

    with lake.run(NUMBERS) as run:
        found = run.before

    assert left == (1 if moment == "after the publication" else 0)
    assert found.state == {"at": 9}
    assert lake.values() == [7, 8, 9]
    assert lake.rows("t__quarantine")["rule"].to_pylist() == ["type"]
    with lake.run(NUMBERS):
        assert lake.rows("t__quarantine").num_rows == 1
