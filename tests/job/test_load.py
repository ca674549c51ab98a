import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from desk import SMALL_JOB, Desk, KnownSecrets, small_job
from hypothesis import HealthCheck, given, settings, strategies as st

from dativo_ingest.job.load import LoadedJob, absolute_path, find_jobs, load_job
from dativo_plugin_sdk.config import PluginConfig, parse
from dativo_plugin_sdk.errors import ConfigurationError, InvalidConfigError, MissingConfigError, error_from_dict


def refused(desk: Desk, text: str) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as caught:
        desk.load(text)
    return caught.value


def test_a_small_job_is_loaded(desk: Desk) -> None:
    loaded = desk.load(SMALL_JOB)

    assert loaded.job.name == "orders"
    assert loaded.path == Path("job.yaml")
    assert loaded.folder == desk.folder


def test_the_example_of_the_contract_is_loaded(desk: Desk) -> None:
    desk.secrets = KnownSecrets({"pg/password": "s3cret"})
    text = """\
# yaml-language-server: $schema=../schemas/job.schema.json
version: 1
name: app_orders
tenant: acme
source:
  connector: postgres            # built-in or installed name, or path/to/file.py:Class
  connection: {host: db.internal, port: 5432, database: app, user: ingest}
  credentials: {password: "${secret:pg/password}"}
target:
  connector: iceberg
  connection: {catalog: lake, warehouse: ./warehouse}   # no uri: embedded SQLite catalog in the warehouse
  namespace: raw_app
defaults: {mode: incremental, on_bad_row: quarantine}
streams:
  public.orders:
    {mode: incremental, cursor: updated_at, primary_key: [id], write: merge, contract: assets/orders.odcs.yaml}
  public.audit_*: {mode: full_refresh, write: overwrite}
limits: {memory_mb: 1024, batch_mb: 32, parallelism: 2}
"""

    job = desk.load(text).job

    assert job.source.credentials["password"] == "s3cret"
    assert job.target.connection == {"catalog": "lake", "warehouse": str(desk.folder / "warehouse")}
    assert job.streams["public.orders"].contract == str(desk.folder / "assets/orders.odcs.yaml")
    assert job.streams["public.audit_*"].write == "overwrite"


def test_references_fill_numbers_and_booleans(desk: Desk) -> None:
    desk.environ = {"MEMORY": "512", "RATIO": "1e-3", "MODE": "incremental"}

    job = desk.load(
        small_job(
            limits='limits: {memory_mb: "${MEMORY}"}',
            defaults='defaults: {max_bad_ratio: "${RATIO}", mode: "${MODE}"}',
        )
    ).job

    assert job.limits.memory_mb == 512
    assert job.defaults.max_bad_ratio == 0.001
    assert job.streams["orders"].mode == "incremental"


def test_everything_wrong_with_a_file_is_listed_at_once_in_its_order(desk: Desk) -> None:
    error = refused(
        desk,
        """\
version: 1
nam: orders
source:
  conection: {path: data}
  credentials: {password: "${NOT_SET}"}
target:
  connector: iceberg
streams:
  orders: {mode: sometimes, write: merge}
  more: 3
limits: {memory_mb: "${MEMORY:-lots}", batch_mb: "${NOT_SET}"}
""",
    )

    assert [line.split(": ")[0] for line in error.message.splitlines()] == [
        "job.yaml:1:1 name",
        "job.yaml:2:1 nam",
        "job.yaml:3:1 source.connector",
        "job.yaml:4:3 source.conection",
        "job.yaml:5:27 source.credentials.password",
        "job.yaml:9:3 streams.orders.primary_key",
        "job.yaml:9:12 streams.orders.mode",
        "job.yaml:10:3 streams.more",
        "job.yaml:11:10 limits.memory_mb",
        "job.yaml:11:50 limits.batch_mb",
    ]
    assert "unknown key, did you mean connection" in error.message
    assert error.error_code == "INVALID_CONFIG"
    assert error.details["problems"][1] == {
        "loc": ["nam"],
        "message": "unknown key, did you mean name",
        "file": "job.yaml",
        "line": 2,
        "column": 1,
    }
    assert error_from_dict(error.to_dict()).to_dict() == error.to_dict()


def test_a_value_that_a_reference_could_not_give_is_complained_of_once(desk: Desk) -> None:
    with pytest.raises(MissingConfigError) as caught:
        desk.load(small_job(limits='limits: {memory_mb: "${NOT_SET}"}'))

    assert caught.value.message == "job.yaml:11:21 limits.memory_mb: environment variable NOT_SET is not set"


def test_missing_references_alone_are_a_missing_configuration(desk: Desk) -> None:
    with pytest.raises(MissingConfigError) as caught:
        desk.load(small_job(secrets="secrets: {vault: {a: '${A}', b: '${B}', c: '${file:no}'}}"))

    assert len(caught.value.message.splitlines()) == 3
    assert "set A, or give a default: ${A:-…}" in str(caught.value.hint)


def test_a_missing_job_file_is_a_missing_configuration(desk: Desk) -> None:
    with pytest.raises(MissingConfigError, match=r"no\.yaml: there is no such job file"):
        load_job("no.yaml", environ={}, resolve_secret=desk.secrets)


def test_a_folder_or_an_impossible_name_is_no_job_file(desk: Desk) -> None:
    for path in (".", "a\0b"):
        with pytest.raises(InvalidConfigError, match="this job file cannot be read"):
            load_job(path, environ={}, resolve_secret=desk.secrets)


def test_a_job_file_that_may_not_be_read_is_a_matter_of_permission(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(SMALL_JOB)
    job.chmod(0)
    program = (
        "import os, sys\n"
        "from dativo_ingest.job.load import load_job\n"
        "from dativo_plugin_sdk.errors import InsufficientPermissionsError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: load_job(sys.argv[1], environ={}, resolve_secret=None)\n"
        "except InsufficientPermissionsError as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program, str(job)], capture_output=True, text=True, check=False)

    assert done.stdout == f"{job}: this job file may not be read\n", done.stderr


def test_a_job_is_read_from_stdin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SMALL_JOB.encode())))

    loaded = load_job("-", environ={}, resolve_secret=desk.secrets)

    assert loaded.folder == desk.folder
    assert loaded.locate(("name",)) == "<stdin>:2:1"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("data/*.csv", "/jobs/data/*.csv", id="glob"),
        pytest.param("./data/", "/jobs/data", id="dot and slash"),
        pytest.param("/data/x.csv", "/data/x.csv", id="absolute"),
        pytest.param("s3://bucket/../x", "s3://bucket/../x", id="S3"),
        pytest.param("file:///data/x", "file:///data/x", id="file URI"),
        pytest.param("HTTPS://host/x", "HTTPS://host/x", id="capitals"),
        pytest.param("-", "-", id="stdin"),
        pytest.param(":memory:", ":memory:", id="in memory"),
        pytest.param("", "", id="nothing"),
        pytest.param("~/x", str(Path.home() / "x"), id="home"),
    ],
)
def test_paths_are_relative_to_the_job_file(written: str, expected: str) -> None:
    assert absolute_path(written, Path("/jobs")) == expected


@pytest.mark.parametrize(
    ("connection", "is_path"),
    [
        pytest.param({}, True, id="embedded"),
        pytest.param({"uri": "sqlite:///c.db"}, True, id="SQL"),
        pytest.param({"uri": "${env:CATALOG}"}, False, id="REST, by reference"),
        pytest.param({"uri": "thrift://host"}, False, id="Hive"),
        pytest.param({"type": "glue"}, False, id="Glue"),
    ],
)
def test_the_warehouse_of_a_catalog_service_is_a_name_and_no_path(
    desk: Desk, connection: dict[str, str], is_path: bool
) -> None:
    target = json.dumps({"connector": "iceberg", "connection": {**connection, "warehouse": "lake"}})

    desk.environ["CATALOG"] = "https://host"

    loaded = desk.load(f"version: 1\nname: n\nsource: {{connector: csv}}\ntarget: {target}\n")

    assert loaded.job.target.connection["warehouse"] == (str(desk.folder / "lake") if is_path else "lake")


def test_paths_that_go_up_follow_links_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "real/jobs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/jobs")

    assert absolute_path("../data", tmp_path / "link") == str(tmp_path / "real/data")
    assert absolute_path("data", tmp_path / "link") == str(tmp_path / "link/data")


def test_every_path_of_a_job_is_made_absolute_and_nothing_else(desk: Desk) -> None:
    (desk.folder / "jobs").mkdir()
    text = """\
version: 1
name: orders
source:
  connector: plugins/reader.py:Reader
  connection: {path: [a.csv, "s3://b/c"], warehouse: w, other: o}
  options: {path: p}
target: {connector: plugins/notes.py, connection: {warehouse: ../lake, sslcert: c.pem, sslrootcert: system}}
streams:
  orders: {path: in/*.csv, contract: c.odcs.yaml, table: t, options: {path: p}}
secrets: {file: {directory: s}}
"""
    job = desk.load(text, "jobs/job.yaml").job
    folder = desk.folder / "jobs"

    assert job.source.connector == f"{folder}/plugins/reader.py:Reader"
    assert job.source.connection == {"path": [f"{folder}/a.csv", "s3://b/c"], "warehouse": f"{folder}/w", "other": "o"}
    assert job.source.options == {"path": "p"}
    assert job.target.connector == "plugins/notes.py"
    assert job.target.connection == {
        "warehouse": f"{desk.folder}/lake",
        "sslcert": f"{folder}/c.pem",
        "sslrootcert": "system",
    }
    assert job.streams["orders"].path == f"{folder}/in/*.csv"
    assert job.streams["orders"].contract == f"{folder}/c.odcs.yaml"
    assert job.streams["orders"].options == {"path": "p"}
    assert job.secrets == {"file": {"directory": f"{folder}/s"}}


class ServerConfig(PluginConfig):
    host: str
    port: int = 5432
    password: str = ""


@pytest.fixture
def served(desk: Desk) -> LoadedJob:
    text = """\
version: 1
name: orders
source:
  connector: server
  connection: {hots: db, port: x}
  credentials: {password: [1]}
target: {connector: duckdb}
streams:
  public.orders:
    options: {fetch: many}
"""
    return desk.load(text)


def complaint(data: dict[str, object], where: str) -> InvalidConfigError:
    with pytest.raises(InvalidConfigError) as caught:
        parse(ServerConfig, data, where=where)
    return caught.value


def test_a_connectors_complaint_gets_the_positions_of_the_job_file(served: LoadedJob) -> None:
    error = complaint(dict(served.job.source.connection), "source.connection")

    explained = served.explain(error, ("source", "connection"))

    assert explained.message.splitlines() == [
        "job.yaml:5:3 source.connection.host: required key is missing",
        "job.yaml:5:16 source.connection.hots: unknown key, did you mean host",
        "job.yaml:5:26 source.connection.port: Input should be a valid integer, unable to parse string as an integer",
    ]
    assert explained.details["where"] == "source.connection"


def test_a_connector_that_reads_several_sections_as_one_is_explained_too(served: LoadedJob) -> None:
    source = served.job.source
    error = complaint({**source.connection, **source.credentials, "host": "h", "port": 1}, "source")

    for base in [("source",), ("source", "connection")]:
        lines = served.explain(error, base).message.splitlines()

        assert lines[0].startswith("job.yaml:5:16 source.connection.hots: unknown key")
        assert lines[1].startswith("job.yaml:6:17 source.credentials.password: Input should be a valid string")


def test_the_dots_of_a_streams_name_do_not_lead_astray(served: LoadedJob) -> None:
    error = InvalidConfigError("no", details={"problems": [{"loc": ["fetch"], "message": "not a number"}]})

    explained = served.explain(error, ("streams", "public", "orders", "options"))

    assert explained.message == "job.yaml:10:15 streams.public.orders.options.fetch: not a number"


def test_what_a_connector_says_of_a_streams_options_gets_its_place_and_other_errors_stay(served: LoadedJob) -> None:
    error = complaint({"host": "h", "fetch": "many"}, "streams.public.orders")
    other = InvalidConfigError("it does not fit")

    placed = served.placed(error)

    assert str(placed).startswith("job.yaml:10:15 streams.public.orders.options.fetch: unknown key")
    assert served.placed(other) is other


def test_a_complaint_without_a_place_gets_that_of_its_section(served: LoadedJob) -> None:
    error = InvalidConfigError("it does not fit", "OWN_CODE", hint="mend it")

    explained = served.explain(error, ("target",))

    assert explained.message == "job.yaml:7:1 target: it does not fit"
    assert (explained.error_code, explained.hint) == ("OWN_CODE", "mend it")


def test_a_key_is_located(served: LoadedJob) -> None:
    assert served.locate(("source", "connector")) == "job.yaml:4:3"
    assert served.locate(("source", "options", "x")) == "job.yaml:3:1"
    assert served.locate(()) == "job.yaml:1:1"


def test_jobs_of_a_folder_are_found_by_name_without_contracts_and_manifests(tmp_path: Path) -> None:
    for name in ["b.yaml", "a.yml", "c.odcs.yaml", "dativo-plugin.yaml", ".hidden.yaml", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.yaml").mkdir()

    assert [path.name for path in find_jobs(tmp_path)] == ["a.yml", "b.yaml"]


def test_a_folder_without_jobs_is_a_missing_configuration(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigError, match="no job file in it"):
        find_jobs(tmp_path)
    with pytest.raises(MissingConfigError, match="there is no such folder"):
        find_jobs(tmp_path / "no")


LINES = st.lists(
    st.tuples(
        st.sampled_from(["version", "name", "source", "target", "streams", "defaults", "limits", "secrets", "x"]),
        st.sampled_from(
            [
                *(
                    "1",
                    "orders",
                    "${A}",
                    "${B:-x}",
                    "{connector: csv}",
                    "{connector: '${A}', connection: [1]}",
                    "[]",
                    "3",
                ),
                *("{a: {write: merge}}", "{a: null, b: {mode: 1}}", "{memory_mb: '${A}'}", "{file: 1}", "&a {b: *a}"),
                *("{file: {directory: '${secret:x}'}}", "{connection: {password: '${secret:x}'}}", "", "{", "!!int x"),
            ]
        ),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.dictionaries(st.just("A"), st.text("${}A x1", max_size=6)))
def test_any_job_is_loaded_or_refused_with_one_of_our_errors(desk: Desk, lines: list, environ: dict) -> None:
    desk.environ = environ
    caught: ConfigurationError | None = None

    try:
        desk.load("\n".join(f"{key}: {value}" for key, value in lines))
    except ConfigurationError as error:
        caught = error

    assert caught is None or caught.message.startswith("job.yaml:")


def test_a_job_in_a_linked_folder_finds_what_lies_beside_the_link(tmp_path: Path) -> None:
    # Kubernetes mounts a ConfigMap as job.yaml -> ..data/job.yaml.
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/job.yaml").write_text(SMALL_JOB)
    (tmp_path / "job.yaml").symlink_to("..data/job.yaml")

    job = load_job(tmp_path / "job.yaml", environ={}, resolve_secret=KnownSecrets()).job

    assert job.source.connection["path"] == str(tmp_path / "data")
