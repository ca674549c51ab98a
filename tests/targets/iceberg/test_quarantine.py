"""Rejected rows reach the table beside, exactly once although it is a second table."""

from typing import Any

import pyarrow as pa
import pytest
from iceberg_lake import NUMBERS, REJECTED, Lake, numbers

from dativo_ingest.targets.iceberg import table as table_module
from dativo_ingest.targets.iceberg.quarantine import Quarantine
from dativo_plugin_sdk import SchemaValidationError


def crash_before_publication(lake: Lake, *ids: int, state: dict[str, Any] | None = None) -> None:
    with lake.run(NUMBERS) as run, pytest.MonkeyPatch.context() as patch:
        run.table.write(numbers(*ids))
        run.table.quarantine(REJECTED)
        patch.setattr(table_module.IcebergTable, "_publish", lambda *_: None)
        run.commit(state)


def test_rejected_rows_lie_beside_the_table_with_all_their_columns(lake: Lake) -> None:
    lake.load(numbers(1), rejected=REJECTED)

    assert lake.rows("t__quarantine").to_pylist() == REJECTED.to_pylist()


def test_a_run_without_rejected_rows_makes_no_quarantine_table(lake: Lake) -> None:
    lake.load(numbers(1))

    assert not lake.exists("t__quarantine")


def test_rejected_rows_of_several_runs_come_together(lake: Lake) -> None:
    for number in range(3):
        lake.load(numbers(number), rejected=REJECTED)

    assert lake.rows("t__quarantine").num_rows == 3


def test_the_commit_points_to_the_rejected_rows(lake: Lake) -> None:
    receipt = lake.load(numbers(1), rejected=REJECTED)

    with lake.run(None) as run:
        pointer = run.before.quarantine
    assert pointer is not None
    assert (pointer["commit_id"], pointer["table"]) == (receipt.commit_id, "raw.t__quarantine")
    assert [item["rows"] for item in pointer["files"]] == [1]


def test_what_a_crash_left_out_is_published_before_the_next_commit_forgets_it(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.run(None) as later:
        crash_before_publication(lake, 2)
        left = lake.rows("t__quarantine").num_rows
        later.commit(generation=2)

    assert left == 0
    assert lake.rows("t__quarantine").num_rows == 1


def test_a_slow_run_does_not_publish_again_what_the_next_run_published(lake: Lake) -> None:
    with lake.run(NUMBERS) as slow:
        slow.table.write(numbers(1))
        slow.table.quarantine(REJECTED)
        publish = Quarantine.publish

        def overtaken(self: Quarantine, state: Any, *arguments: Any) -> None:
            if state.quarantine is not None:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Quarantine, "publish", publish)
                    lake.load(numbers(2), rejected=REJECTED)
                    lake.load(numbers(3))
            publish(self, state, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Quarantine, "publish", overtaken)
            slow.commit()

    assert lake.values() == [1, 2, 3]
    assert lake.rows("t__quarantine").num_rows == 2


def test_two_that_publish_at_once_publish_once(lake: Lake) -> None:
    from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog

    crash_before_publication(lake, 1)
    commit_table = EmbeddedCatalog.commit_table
    waiting = [True]

    def interrupted(catalog: Any, *arguments: Any) -> Any:
        if waiting:
            waiting.pop()
            with lake.run(None):
                pass  # it publishes, too
        return commit_table(catalog, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedCatalog, "commit_table", interrupted)
        with lake.run(None):
            pass

    assert not waiting
    assert lake.rows("t__quarantine").num_rows == 1


def test_a_table_made_anew_publishes_its_rejected_rows_whatever_the_quarantine_table_remembers(lake: Lake) -> None:
    lake.load(numbers(1), rejected=REJECTED)
    lake.load(numbers(2), rejected=REJECTED)
    with lake.catalog() as catalog:
        catalog.drop_table("raw.t")

    lake.load(numbers(1), rejected=REJECTED)

    assert lake.rows("t__quarantine").num_rows == 3


def test_a_quarantine_table_that_was_dropped_is_made_again(lake: Lake) -> None:
    crash_before_publication(lake, 1)
    with lake.catalog() as catalog:
        catalog.drop_table("raw.t__quarantine")

    with lake.run(None):
        pass

    assert lake.rows("t__quarantine").to_pylist() == REJECTED.to_pylist()


def test_a_quarantine_table_takes_new_columns(lake: Lake) -> None:
    lake.load(numbers(1), rejected=REJECTED)

    lake.load(numbers(2), rejected=REJECTED.append_column("line", pa.array([7], pa.int64())))

    assert lake.rows("t__quarantine").sort_by("line")["line"].to_pylist() == [7, None]


def test_a_partitioned_quarantine_table_is_refused(lake: Lake) -> None:
    lake.load(numbers(1), rejected=REJECTED)
    with lake.table("t__quarantine") as table, table.update_spec() as update:
        update.add_identity("rule")

    with pytest.raises(SchemaValidationError, match="must not be"):
        lake.load(numbers(2), rejected=REJECTED)
