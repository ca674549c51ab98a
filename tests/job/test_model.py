import subprocess
import sys
from datetime import timedelta

import pytest

from dativo_ingest.job.delete_detection import KeyDiff, SoftColumn
from dativo_ingest.job.model import Job
from dativo_plugin_sdk.config import parse
from dativo_plugin_sdk.errors import InvalidConfigError

ENDS = {"source": {"connector": "csv"}, "target": {"connector": "duckdb"}}


def job(**sections: object) -> Job:
    return parse(Job, {"version": 1, "name": "orders", **ENDS, **sections}, where="job")


def test_a_stream_takes_from_the_defaults_what_it_does_not_say() -> None:
    made = job(
        defaults={"mode": "incremental", "on_bad_row": "fail"},
        streams={"a": None, "b": {"on_bad_row": "skip"}},
    )

    assert (made.streams["a"].mode, made.streams["a"].on_bad_row) == ("incremental", "fail")
    assert (made.streams["b"].mode, made.streams["b"].on_bad_row) == ("incremental", "skip")


def test_sections_without_a_value_are_empty() -> None:
    made = job(
        source={"connector": "csv", "connection": None, "credentials": None, "options": None},
        defaults=None,
        limits=None,
        secrets=None,
        streams=None,
    )

    assert made.source.connection == {}
    assert made.source.credentials == {}
    assert made.limits.memory_mb == 1024
    assert made.streams == {}


def test_a_lone_name_stands_for_a_list_of_one() -> None:
    stream = job(streams={"a": {"primary_key": "id", "partition_by": "day(at)", "sort_by": "id desc"}}).streams["a"]

    assert (stream.primary_key, stream.partition_by, stream.sort_by) == (["id"], ["day(at)"], ["id desc"])


def test_table_properties_become_text_as_tables_spell_it() -> None:
    stream = job(streams={"a": {"properties": {"size": 134217728, "enabled": True, "codec": "zstd"}}}).streams["a"]

    assert stream.properties == {"size": "134217728", "enabled": "true", "codec": "zstd"}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        pytest.param({"streams": {"a": {"write": "merge"}}}, "job.streams.a.primary_key: write: merge", id="no key"),
        pytest.param(
            {"defaults": {"write": "merge"}, "streams": {"a": None}},
            "job.streams.a.primary_key: write: merge",
            id="merge by default without a key",
        ),
        pytest.param(
            {"streams": {"a": {"mode": "incremental", "write": "overwrite"}}},
            "job.streams.a.write: overwrite with mode: incremental would drop",
            id="incremental overwrite",
        ),
        pytest.param(
            {"defaults": {"mode": "incremental"}, "streams": {"a": {"write": "overwrite"}}},
            "job.streams.a.write: overwrite with mode: incremental would drop",
            id="overwrite where incremental is the default",
        ),
        pytest.param(
            {"streams": {"a": {"mode": "cdc", "cursor": "at"}}},
            "job.streams.a.cursor: cdc resumes by the source's log",
            id="cdc with a cursor",
        ),
        pytest.param(
            {"streams": {"a": {"primary_key": ["id", "id"]}}}, "job.streams.a.primary_key: named twice: id", id="twice"
        ),
        pytest.param({"limits": {"memory_mb": 10}}, "job.limits.memory_mb: ", id="too little memory"),
        pytest.param(
            {"limits": {"memory_mb": 64, "batch_mb": 33}}, "job.limits.batch_mb: a batch of 33 MiB", id="large batch"
        ),
        pytest.param({"name": "a/b"}, "job.name: ", id="slash in a name"),
        pytest.param({"version": 2}, "job.version: ", id="another version"),
        pytest.param({"defaults": {"max_bad_ratio": 1.5}}, "job.defaults.max_bad_ratio: ", id="ratio above 1"),
        pytest.param({"streams": {"": {}}}, "job.streams.", id="stream without a name"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_its_key(sections: dict[str, object], expected: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        job(**sections)

    assert expected in caught.value.message


def test_every_key_has_a_description_for_the_job_reference() -> None:
    schema = Job.model_json_schema()
    models = [schema, *schema["$defs"].values()]

    without = [
        f"{model['title']}.{name}"
        for model in models
        for name, key in model["properties"].items()
        if "description" not in key and "$ref" not in key
    ]

    assert without == []


def test_the_repr_of_a_job_shows_no_value_that_may_be_a_secret() -> None:
    made = job(
        source={
            "connector": "csv",
            "connection": {"url": "postgres://u:canary@h"},
            "credentials": {"password": "canary"},
            "options": {"header": "canary"},
        },
        streams={"a": {"options": {"x": "canary"}, "properties": {"y": "canary"}}},
        secrets={"vault": {"token": "canary"}},
    )

    assert "canary" not in repr(made) + str(made) + repr(made.source) + f"{made.source.credentials}"


def test_a_job_cannot_be_changed() -> None:
    made = job()

    with pytest.raises(ValueError, match="frozen"):
        made.name = "other"


def test_importing_the_job_imports_no_pyarrow() -> None:
    program = "import sys, dativo_ingest.job.load; sys.exit('pyarrow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], check=False)

    assert done.returncode == 0


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"deletes": "soft", "write": "append"}, "soft marks deleted rows where rows are merged; write: append merges"),
        ({"changelog": True, "write": "merge", "primary_key": "id"}, "a changelog appends every change; write: merge"),
        ({"changelog": True, "deletes": "soft"}, "deletes: soft marks rows that are merged: choose one"),
        ({"deletes": "sotf"}, "'hard' or 'soft'"),
        ({"op_column": ""}, "at least 1 character"),
    ],
)
def test_what_becomes_of_changes_is_said_once(stream: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        job(streams={"a": {"mode": "incremental", **stream}})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("none", None, id="none"),
        pytest.param(None, None, id="nothing"),
        pytest.param("key_diff", KeyDiff(mode="key_diff"), id="a lone word"),
        pytest.param({"mode": "key_diff", "every": 0}, KeyDiff(mode="key_diff", every=timedelta(0)), id="every run"),
        pytest.param({"mode": "key_diff", "every": "0"}, KeyDiff(mode="key_diff", every=timedelta(0)), id="as text"),
        pytest.param(
            {"mode": "soft_column", "column": "gone", "values": [True, "Y", 1]},
            SoftColumn(mode="soft_column", column="gone", values=["true", "Y", "1"]),
            id="values as YAML has them",
        ),
    ],
)
def test_a_short_form_of_delete_detection_stands_for_its_defaults(written: object, meant: object) -> None:
    assert job(streams={"a": {"delete_detection": written}}).streams["a"].delete_detection == meant


def test_keys_are_compared_once_a_day_and_half_of_a_table_may_go() -> None:
    made = KeyDiff(mode="key_diff")

    assert (made.every, made.max_deleted_share) == (timedelta(days=1), 0.5)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"delete_detection": "keydiff"}, "mode is one of none, soft_column, key_diff"),
        ({"delete_detection": {"every": "1h"}}, "mode is one of none, soft_column, key_diff"),
        ({"delete_detection": "soft_column"}, r"delete_detection.column: required key is missing"),
        ({"delete_detection": {"mode": "key_diff", "evry": "1h"}}, r"delete_detection.evry: unknown key, did you mean"),
        ({"delete_detection": {"mode": "key_diff", "every": 3}}, "write a number and a unit"),
        ({"delete_detection": "key_diff", "write": "append"}, "write: append merges none"),
        ({"delete_detection": "key_diff", "op_column": "op"}, "op_column says what was deleted already"),
        ({"delete_detection": "key_diff", "mode": "cdc"}, "hears of deletes from the source's log"),
        ({"delete_detection": "key_diff", "changelog": True}, "a changelog merges nothing"),
    ],
)
def test_delete_detection_that_means_nothing_is_refused(stream: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        job(streams={"a": {"primary_key": "id", **stream}})


@pytest.mark.parametrize("version", ["1.4.0", "~=1.4", ">=1.4,<2", "1.4.0rc1"])
def test_an_end_may_ask_for_versions_of_its_connector(version: str) -> None:
    assert job(source={"connector": "csv", "version": version}).source.version == version
    assert job().source.version is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (1.10, "source.version: a version is text: write it in quotes, since YAML takes 1.10 for the number 1.1"),
        ("newest", "source.version: 'newest' is no version and no PEP 440 specifier, such as ~=1.4 or >=1.4,<2"),
    ],
)
def test_a_version_that_is_none_is_refused(written: object, message: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse(Job, {"version": 1, "name": "o", **ENDS, "source": {"connector": "csv", "version": written}}, where="")

    assert message in str(caught.value)


def test_a_section_is_written_for_the_first_version_of_its_connector_s_configuration() -> None:
    assert job().target.config_version == 1
    assert job(target={"connector": "duckdb", "config_version": 3}).target.config_version == 3
    with pytest.raises(InvalidConfigError, match=r"target\.config_version"):
        job(target={"connector": "duckdb", "config_version": 0})
