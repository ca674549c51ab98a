from datetime import timedelta
from typing import Any

import pytest

from dativo_ingest.job.model import Job
from dativo_ingest.run.plan import Budget, expand, plan_stream, refuse_lost_rows, select
from dativo_plugin_sdk import DataNotFoundError, InvalidConfigError, Watermark

ALL_WRITES = frozenset({"append", "overwrite", "merge"})


def job(streams: dict[str, Any], **settings: Any) -> Job:
    return Job.model_validate(
        {
            "version": 1,
            "name": "j",
            "source": {"connector": "csv"},
            "target": {"connector": "iceberg", "namespace": "raw"},
            "streams": streams,
            **settings,
        }
    )


def plan(
    streams: dict[str, Any],
    name: str,
    *,
    write_modes: Any = ALL_WRITES,
    full_refresh: bool = False,
    **settings: Any,
) -> Any:
    made = job(streams)
    return plan_stream(
        name,
        made.streams[name],
        made,
        from_source={},
        write_modes=write_modes,
        can_cdc=False,
        full_refresh=full_refresh,
        **settings,
    )


@pytest.mark.parametrize(
    ("stream", "write_modes", "expected"),
    [
        pytest.param({}, ALL_WRITES, "overwrite", id="a full refresh replaces"),
        pytest.param({}, {"append"}, "append", id="a full refresh appends where the target can only append"),
        pytest.param({"mode": "incremental"}, ALL_WRITES, "append", id="incremental appends"),
        pytest.param({"mode": "incremental", "primary_key": "id"}, ALL_WRITES, "merge", id="a key merges"),
        pytest.param(
            {"mode": "incremental", "primary_key": "id"}, {"append", "overwrite"}, "append", id="where it can"
        ),
    ],
)
def test_the_write_mode_follows_from_how_the_stream_is_read(stream: Any, write_modes: Any, expected: str) -> None:
    assert plan({"s": stream}, "s", write_modes=write_modes).write == expected


def test_a_table_is_named_after_the_last_part_of_its_stream() -> None:
    assert plan({"public.orders": {}}, "public.orders").table == "orders"


def test_a_full_refresh_of_an_incremental_stream_replaces_the_table() -> None:
    made = plan({"s": {"mode": "incremental"}}, "s", full_refresh=True)

    assert (made.write, made.ignore_state) == ("overwrite", True)


def test_a_write_mode_that_the_target_lacks_is_refused_by_name() -> None:
    with pytest.raises(InvalidConfigError, match=r"streams\.s\.write: the target iceberg cannot merge; it can append"):
        plan({"s": {"write": "merge", "primary_key": "id"}}, "s", write_modes={"append"})


def test_cdc_from_a_source_without_it_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="no change data capture"):
        plan({"s": {"mode": "cdc"}}, "s")


def test_a_glob_picks_from_what_the_source_has_and_a_written_name_goes_first() -> None:
    made = job({"a_1": {"table": "first"}, "a_*": {}})

    expanded = expand(made, {"a_1": {}, "a_2": {"path": "x"}, "b": {}})

    assert list(expanded) == ["a_1", "a_2"]
    assert expanded["a_1"][0].table == "first"
    assert expanded["a_2"][1] == {"path": "x"}


def test_a_glob_that_picks_nothing_says_what_there_is() -> None:
    with pytest.raises(DataNotFoundError, match=r"'z\*'; the source has a, b"):
        expand(job({"z*": {}}), {"b": {}, "a": {}})


def test_asking_for_a_stream_that_the_job_lacks_is_an_error() -> None:
    assert select(["a", "b1", "b2"], ("b*",)) == ["b1", "b2"]
    with pytest.raises(InvalidConfigError, match="no stream 'c'; it has a"):
        select(["a"], ("c",))


@pytest.mark.parametrize("memory_mb", [64, 512, 1024, 65536])
def test_the_shares_of_memory_leave_half_of_it_free(memory_mb: int) -> None:
    budget = Budget.of(memory_mb, 32)

    assert budget.channel_bytes + budget.buffer_bytes <= memory_mb * 2**20 // 2
    assert 2**20 <= budget.batch_bytes <= 32 * 2**20


APPENDED = {"mode": "incremental", "table": "all"}


@pytest.mark.parametrize(
    ("streams", "full_refresh", "message"),
    [
        pytest.param({"a.t": {}, "b.t": {}}, False, "streams a.t and b.t both go into table raw.t", id="by default"),
        pytest.param({"a": APPENDED, "b": {"table": "all"}}, False, "raw.all", id="one of two"),
        pytest.param({"a": APPENDED, "b": APPENDED}, True, "raw.all", id="by --full-refresh"),
        pytest.param(
            {"a": {}, "a__quarantine": {}},
            False,
            "raw.a__quarantine is where the rejected rows of a go",
            id="quarantine",
        ),
    ],
)
def test_streams_that_would_take_each_others_rows_away_are_refused(
    streams: Any, full_refresh: bool, message: str
) -> None:
    plans = [plan(streams, name, full_refresh=full_refresh) for name in streams]

    with pytest.raises(InvalidConfigError, match=message):
        refuse_lost_rows(plans)


def test_streams_may_append_to_one_table_or_overwrite_their_own() -> None:
    streams = {"a": APPENDED, "b": APPENDED, "c": {}, "d.c": {"namespace": "other"}}

    refuse_lost_rows([plan(streams, name) for name in streams])


def test_a_name_of_the_source_that_looks_like_a_pattern_is_that_name() -> None:
    available = {"orders[1]": {"path": "x"}, "orders1": {}}

    assert list(expand(job({"orders[1]": {}}), available)) == ["orders[1]"]


KEYED: dict[str, Any] = {"mode": "incremental", "primary_key": "id"}


@pytest.mark.parametrize(
    ("stream", "full_refresh", "expected"),
    [
        pytest.param({**KEYED, "changelog": True}, False, ("append", False), id="a changelog appends whatever the key"),
        pytest.param({"changelog": True}, False, ("append", False), id="a changelog appends what is read in full"),
        pytest.param({**KEYED, "changelog": True}, True, ("overwrite", False), id="a changelog begins anew"),
        pytest.param(KEYED, True, ("overwrite", True), id="a merge is replaced"),
        pytest.param({**KEYED, "deletes": "soft"}, False, ("merge", False), id="soft deletes are a merge"),
    ],
)
def test_what_became_of_rows_says_how_they_are_written(
    stream: Any, full_refresh: bool, expected: tuple[str, bool]
) -> None:
    made = plan({"s": stream}, "s", full_refresh=full_refresh)

    assert (made.write, made.replaces_merge) == expected


@pytest.mark.parametrize(
    ("stream", "settings", "message"),
    [
        pytest.param(
            {**KEYED, "deletes": "soft"},
            {"write_modes": {"append"}},
            r"streams.s.deletes: soft marks .* this stream has write: append",
            id="soft deletes without a merge",
        ),
        pytest.param(
            {"op_column": "op"}, {}, r"streams.s.op_column: .* this stream has write: overwrite", id="ops of no use"
        ),
        pytest.param(
            {**KEYED, "op_column": "op"},
            {"deletes_rows": False},
            r"streams.s.op_column: the target iceberg merges but cannot delete rows",
            id="a target that cannot delete",
        ),
    ],
)
def test_ops_that_could_not_land_are_refused_before_anything_is_read(stream: Any, settings: Any, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        plan({"s": stream}, "s", **settings)


def test_a_target_that_cannot_delete_may_mark_or_log() -> None:
    for more in ({"deletes": "soft"}, {"changelog": True}):
        made = plan({"s": {**KEYED, "op_column": "op", **more}}, "s", deletes_rows=False)

        assert (made.op_column, made.can_delete) == ("op", False)


def test_a_changelog_and_rows_do_not_share_a_table() -> None:
    streams = {"a": {**KEYED, "table": "t"}, "b": {"changelog": True, "mode": "incremental", "table": "t"}}

    with pytest.raises(InvalidConfigError, match=r"streams a and b both go into table raw.t, as a changelog and as"):
        refuse_lost_rows([plan(streams, name) for name in streams])


@pytest.mark.parametrize(
    ("stream", "settings", "message"),
    [
        pytest.param(
            {"delete_detection": "key_diff"},
            {},
            r"streams.s.delete_detection: key_diff takes deleted rows out .* this stream has write: overwrite",
            id="a table that is replaced",
        ),
        pytest.param(
            {"mode": "incremental", "delete_detection": "key_diff"},
            {},
            r"streams.s.delete_detection: .* this stream has write: append",
            id="a stream without a key",
        ),
        pytest.param(
            {**KEYED, "delete_detection": "key_diff"},
            {"compares_keys": False},
            r"streams.s.delete_detection: the target iceberg cannot compare keys",
            id="a target that cannot compare",
        ),
        pytest.param(
            {**KEYED, "delete_detection": "key_diff"},
            {"can_read_keys": False},
            r"streams.s.delete_detection: the source csv cannot read keys alone",
            id="a source that cannot read keys",
        ),
        pytest.param(
            {**KEYED, "delete_detection": {"mode": "soft_column", "column": "gone"}},
            {"deletes_rows": False},
            r"streams.s.delete_detection: the target iceberg merges but cannot delete rows",
            id="a target that cannot delete",
        ),
    ],
)
def test_deletes_that_could_not_be_found_or_land_are_refused_before_anything_is_read(
    stream: Any, settings: Any, message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        plan({"s": stream}, "s", **settings)


def test_a_source_that_cannot_read_keys_gives_them_with_its_rows() -> None:
    stream = {"mode": "full_refresh", "write": "merge", "primary_key": "id", "delete_detection": "key_diff"}

    assert plan({"s": stream}, "s", can_read_keys=False).key_diff is not None


def test_streams_whose_keys_are_compared_share_no_table() -> None:
    streams = {"a": {**KEYED, "table": "t", "delete_detection": "key_diff"}, "b": {**KEYED, "table": "t"}}

    with pytest.raises(InvalidConfigError, match=r"streams a and b both go into table raw.t: key_diff would take"):
        refuse_lost_rows([plan(streams, name) for name in streams])


LATE: dict[str, Any] = {"mode": "incremental", "cursor": "at", "primary_key": "id", "lag": "30s", "lookback": "1h"}


def test_how_far_a_cursor_is_followed_is_for_sources_that_can() -> None:
    made = job({"s": LATE | {"max_watermark_lag": "2h"}})

    planned = plan_stream(
        "s", made.streams["s"], made, from_source={}, write_modes=ALL_WRITES, can_cdc=False, can_watermark=True
    )

    assert planned.watermark == Watermark(timedelta(seconds=30), timedelta(hours=1), timedelta(hours=2))
    with pytest.raises(InvalidConfigError, match=r"streams\.s\.lag: the source csv cannot do that"):
        plan({"s": LATE}, "s")


def test_reading_again_what_would_be_appended_twice_is_refused() -> None:
    made = job({"s": {**LATE, "write": "append", "lookback": 100}})

    with pytest.raises(InvalidConfigError, match="would be there twice with write: append"):
        plan_stream(
            "s", made.streams["s"], made, from_source={}, write_modes=ALL_WRITES, can_cdc=False, can_watermark=True
        )


def test_a_full_refresh_has_no_cursor_to_follow() -> None:
    assert plan({"s": {"lag": "30s", "lookback": 5}}, "s").watermark == Watermark()
