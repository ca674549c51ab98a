"""Plugins that do what they must not: each has its own error, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import confined
import pytest
from hostile_readers import BATCH, HOSTILE, LITTLE_LOG, MakeReader, impatient
from plugin_remains import Remains, eventually

from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.wire import LeftError
from dativo_plugin_sdk.errors import (
    DativoError,
    InvalidCredentialsError,
    PluginExecutionError,
    PluginLoadError,
    PluginVersionError,
)
from dativo_plugin_sdk.streams import Message, Partition, Rows, StreamSpec

ORDERS = StreamSpec("orders")
CRASHED, TIMEOUT, BREACH, FLOOD = "PLUGIN_CRASHED", "PLUGIN_TIMEOUT", "PLUGIN_PROTOCOL_ERROR", "RESOURCE_OUTPUT"


def everything(reader: RemoteReader) -> list[Message]:
    """Ask a reader for what a check and a run ask for."""
    for check in reader.check([ORDERS]):
        check.run()
    reader.discover()
    found = [
        message for partition in reader.partitions(ORDERS, None) for message in reader.read(ORDERS, partition, None)
    ]
    reader.partitions(ORDERS, None)
    return found


def test_a_plugin_that_behaves_is_read(hostile: MakeReader) -> None:
    found = everything(hostile("never", "nothing"))

    assert found == [Rows(BATCH)]


@pytest.mark.parametrize(
    "stage", ["spec", "configure", "check", "check_step", "discover", "partitions", "read", "batch"]
)
@pytest.mark.parametrize(
    ("act", "told"),
    [
        pytest.param("crash", "ended with exit code 7", id="crashes"),
        pytest.param("exit", "ended with exit code 0", id="exits"),
        pytest.param("segfault", "was killed by SIGSEGV", id="is killed"),
    ],
)
def test_a_process_that_ends_at_any_stage_is_a_crash(hostile: MakeReader, stage: str, act: str, told: str) -> None:
    with pytest.raises(PluginExecutionError, match=told) as caught:
        everything(hostile(stage, act))

    assert caught.value.error_code == CRASHED
    assert caught.value.details["plugin"] == "hostile"
    assert (act == "crash") == ("about to crash" in caught.value.details["log"])


@pytest.mark.parametrize("stage", ["start", "hello"])
def test_a_process_that_ends_before_its_hello_was_not_loaded(hostile: MakeReader, stage: str) -> None:
    with pytest.raises(PluginLoadError, match="ended with exit code 7 before it connected: about to crash"):
        everything(hostile(stage, "crash"))


@pytest.mark.parametrize(
    ("stage", "deadline"),
    [
        ("start", "start"),
        ("hello", "start"),
        ("spec", "start"),
        ("configure", "start"),
        ("check", "check"),
        ("check_step", "check"),
        ("discover", "discover"),
        ("partitions", "idle"),
        ("read", "idle"),
        ("batch", "idle"),
    ],
)
def test_a_process_that_hangs_is_ended_at_the_deadline_of_its_stage(
    hostile: MakeReader, stage: str, deadline: str
) -> None:
    with pytest.raises(PluginExecutionError) as caught:
        everything(hostile(stage, "hang_deaf", impatient(deadline)))

    assert caught.value.error_code == TIMEOUT
    assert caught.value.details["deadline"] == deadline
    assert f"deadlines.{deadline}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("stage", "act", "told"),
    [
        pytest.param("hello", "other_token", "a token that is not this run's", id="another run's token"),
        pytest.param("hello", "other_token_of_data", "a token that is not this run's", id="only on the data socket"),
        pytest.param("hello", "other_hello", "did not begin with a hello", id="a result before the hello"),
        pytest.param("hello", "garbage", "a control frame of", id="another protocol"),
        pytest.param("hello", "no_json", "no JSON", id="no JSON"),
        pytest.param("hello", "half_a_frame", "ended within a frame", id="half a frame"),
        pytest.param("hello", "log", "before it was welcomed", id="a log before the welcome"),
        pytest.param("hello", "connect_again", "socket twice", id="connects twice before its hello"),
        pytest.param("welcome", "connect_again", "socket twice", id="connects twice after the welcome"),
        pytest.param("read", "connect_again", "socket twice", id="connects twice while it is read"),
        pytest.param("read", "garbage", "a control frame of", id="garbage"),
        pytest.param("read", "more_rows", "not the rows that its event announced", id="lies about rows"),
        pytest.param("read", "no_batch", "announced and did not come", id="announces what does not come"),
        pytest.param("read", "other_id", "another request", id="the event of another request"),
        pytest.param("discover", "other_id", "another request", id="the result of another request"),
        pytest.param("discover", "stray_event", "an event where discover has none", id="an event out of place"),
        pytest.param("after read", "stray_event", "another request", id="an event after the result"),
        pytest.param("after read", "two_results", "another request", id="a second result"),
        pytest.param("read", "unknown_event", "none of reading", id="an unknown event"),
        pytest.param("read", "unknown_message", "a type that is not known", id="an unknown message"),
        pytest.param("discover", "wrong_value", "what was discovered", id="a value of another shape"),
        pytest.param("spec", "wrong_value", "what a plugin is", id="a spec of another shape"),
        pytest.param("partitions", "wrong_value", "a partition", id="a partition of another shape"),
        pytest.param("read", "close_control", "closed a connection during read", id="closes the control socket"),
        pytest.param("read", "close_data", "closed a connection during read", id="closes the data socket"),
        pytest.param("read", "half_a_batch", "closed a connection during read", id="half a batch"),
        pytest.param("partitions", "endless_result", "a message of more than", id="a result without an end"),
        pytest.param("read", "endless_state", "a control frame of", id="a state beyond all bounds"),
    ],
)
def test_what_the_protocol_does_not_allow_is_a_breach(hostile: MakeReader, stage: str, act: str, told: str) -> None:
    with pytest.raises(PluginExecutionError, match=told) as caught:
        everything(hostile(stage, act))

    assert caught.value.error_code == BREACH


@pytest.mark.parametrize("stage", ["start", "welcome", "read"])
@pytest.mark.parametrize("act", ["print", "print_one_line"])
def test_a_process_that_prints_without_an_end_is_ended(
    hostile: MakeReader, stage: str, act: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PluginExecutionError, match="printed and logged more than") as caught:
        everything(hostile(stage, act))

    assert caught.value.error_code == FLOOD
    said = capsys.readouterr()
    assert not said.out
    assert len(said.err) < 2 * LITTLE_LOG.log_bytes
    assert said.err.count("the rest is dropped") == 1


@pytest.mark.parametrize("stage", ["welcome", "spec", "read"])
@pytest.mark.parametrize("act", ["log_flood", "metric_flood"])
def test_a_flood_of_messages_is_ended_too(hostile: MakeReader, stage: str, act: str) -> None:
    with pytest.raises(PluginExecutionError) as caught:
        everything(hostile(stage, act))

    assert caught.value.error_code == FLOOD


@pytest.mark.parametrize("act", ["fork", "daemon", "fork_on"])
def test_what_a_plugin_started_goes_with_it(hostile: MakeReader, act: str) -> None:
    with pytest.raises(PluginExecutionError, match="ended with exit code 7"):
        everything(hostile("read", act))


@pytest.mark.parametrize("act", ["hang_deaf", "daemon", "crash"])
def test_a_plugin_that_does_not_end_when_it_should_is_ended(hostile: MakeReader, act: str) -> None:
    reader = hostile("shutdown", act)

    assert everything(reader) == [Rows(BATCH)]
    reader.close()


def test_frames_on_standard_output_are_output(hostile: MakeReader, capsys: pytest.CaptureFixture[str]) -> None:
    reader = hostile("discover", "print_frames")

    assert everything(reader) == [Rows(BATCH)]
    reader.close()
    said = capsys.readouterr()
    assert not said.out
    assert '"forged"' in said.err
    assert not set("\x1b\x07\0") & set(said.err)


def test_what_is_logged_comes_without_control_characters(hostile: MakeReader, caplog: pytest.LogCaptureFixture) -> None:
    everything(hostile("discover", "log"))

    (record,) = [record for record in caplog.records if record.name == "itsown"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "[31mred[0m andmore")


def test_an_error_of_the_plugin_comes_as_it_is_and_ends_nothing(hostile: MakeReader) -> None:
    reader = hostile("discover", "error")

    with pytest.raises(InvalidCredentialsError, match="such key") as caught:
        reader.discover()

    assert "\x1b" not in f"{caught.value}{caught.value.details}{caught.value.__notes__}"
    assert "Traceback of the plugin" in caught.value.__notes__[0]
    assert [partition.id for partition in reader.partitions(ORDERS, None)] == ["all"]


def test_a_plugin_of_another_protocol_is_told_and_refused_with_both_versions(hostile: MakeReader) -> None:
    with pytest.raises(PluginVersionError, match="2, 3") as caught:
        everything(hostile("hello", "protocol_2"))

    assert "9.9.0" in caught.value.message


@pytest.mark.parametrize("act", ["hang", "hang_deaf"])
def test_a_reader_that_is_left_off_and_does_not_notice_is_ended(hostile: MakeReader, act: str) -> None:
    messages = hostile("batch", act).read(ORDERS, Partition("all"), None)
    next(messages)

    messages.close()  # type: ignore[attr-defined]  # a generator


def test_a_reader_that_is_left_off_goes_on(hostile: MakeReader) -> None:
    reader = hostile("never", "nothing")
    next(messages := reader.read(ORDERS, Partition("all"), None))

    messages.close()  # type: ignore[attr-defined]  # a generator

    assert len(reader.partitions(ORDERS, None)) == 1


@pytest.mark.parametrize("act", ["hang", "nothing"])
def test_a_reader_whose_rows_nobody_takes_any_more_leaves_off(hostile: MakeReader, act: str) -> None:
    left: list[bool] = []
    messages = hostile("batch", act, is_left=lambda: bool(left)).read(ORDERS, Partition("all"), None)
    next(messages)

    left.append(True)

    with pytest.raises(LeftError) if act == "hang" else pytest.raises(StopIteration):
        next(messages)


def test_whoever_stops_the_run_ends_the_process_soon(hostile: MakeReader) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        if asked:
            raise StoppedError

    asked: list[bool] = []
    reader = hostile("read", "hang_deaf", while_waiting=stop)
    messages = reader.read(ORDERS, Partition("all"), None)
    asked.append(True)

    with pytest.raises(StoppedError):
        next(messages)


def test_a_plugin_gets_nothing_of_the_engines_environment(hostile: MakeReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    with pytest.raises(DativoError) as caught:
        everything(hostile("welcome", "environment"))

    (given,) = [line for line in caught.value.details["log"] if line.startswith("given")]
    names = set(given.split()[1:])
    assert {"HOME", "TMPDIR", "LC_ALL", "PATH"} <= names
    assert names <= {
        *("DATIVO_PLUGIN_IO", "DATIVO_PLUGIN_TOKEN", "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "PATH"),
        *("PYTHONDONTWRITEBYTECODE", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ"),
    }


@pytest.mark.parametrize("act", ["locked_folder", "deep_folders"])
def test_folders_that_are_hard_to_remove_go_too(hostile: MakeReader, act: str) -> None:
    with pytest.raises(PluginExecutionError, match="ended with exit code 7"):
        everything(hostile("read", act))


def wardens(engine: int) -> list[Path]:
    """Find the processes between an engine and its plugins."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == engine and b"warden.py" in (path / "cmdline").read_bytes():
                found.append(path)
    return found


def test_no_process_and_no_folder_outlives_an_engine_that_is_killed(remains: Remains, tmp_path: Path) -> None:
    engine = f"""
import sys, tempfile
sys.path.append({str(Path(confined.__file__).parent)!r})
tempfile.tempdir = sys.argv[1]
from confined import confined
from hostile_readers import LITTLE_LOG
from dataclasses import replace
from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.run_spec import RunSpec
grant = replace(LITTLE_LOG, read=(*LITTLE_LOG.read, sys.argv[-2]))
process = Conversation(RunSpec("hostile", tuple(sys.argv[2:]), grant), confined())
process.greet()
print("greeted", flush=True)
process.ask("read")
"""
    (tmp_path / "batch").touch()
    plugin = [confined.PYTHON, "-I", "-S", str(HOSTILE), "read", "hang_deaf", str(tmp_path / "batch"), remains.mark]
    command = [sys.executable, "-c", engine, str(remains.folder), *plugin]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"greeted\n"
        assert len(remains.processes()) > 1  # the engine, and the plugin
        (warden,) = wardens(process.pid)

        process.send_signal(signal.SIGKILL)
        process.wait()

    assert not eventually(warden.exists)
    assert not eventually(remains.processes)
    assert not eventually(lambda: list(remains.folder.iterdir()))
