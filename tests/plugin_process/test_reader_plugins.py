"""Reader plugins as commands run them: in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pyarrow as pa
import pytest
from plugin_remains import Remains
from workshop import Workshop

import dativo_plugin_sdk

OLD = """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import requests
from the_shop import ROWS
from dativo_ingest.plugins import BaseReader
from dativo_ingest.validator import IncrementalStateManager

print("importing", requests.__name__)

class OldReader(BaseReader):
    def __init__(self, source_config):
        super().__init__(source_config)
        self.password = source_config.credentials["password"]

    def extract(self, state_manager=None):
        from the_shop import LATER
        print("extracting with", self.password)
        yield ROWS
        yield LATER
"""
SHOP = """
ROWS = [{"id": 1, "name": "one"}, {"id": 2, "name": None}]
LATER = [{"id": 3, "name": "three"}]
"""
MOODY = """
import os, sys, uuid
from dativo_plugin_sdk import BaseReader

PROCESS = uuid.uuid4()

class Moody(BaseReader):
    def extract(self):
        stream = self.source_config.objects[0]
        yield [{"id": 1}]
        print("process", PROCESS, flush=True)
        if stream == "dies":
            print("no more", file=sys.stderr)
            os._exit(3)
"""
SLEEPY = """
import time
from dativo_plugin_sdk import BaseReader

class Sleepy(BaseReader):
    def extract(self):
        yield [{"id": 1}]
        print("asleep", flush=True)
        time.sleep(3600)
"""
ROOTED = """
import sys
from dativo_plugin_sdk import BaseReader

class Rooted(BaseReader):
    def extract(self):
        yield [{"prefix": sys.prefix}]
"""

pytestmark = pytest.mark.usefixtures("remains")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, "parquet", in_process=True)


def write(workshop: Workshop, name: str, text: str) -> str:
    """Write a plugin's file; give how a job names the one class in it."""
    (workshop.folder / name).write_text(text)
    return f"{name}:{text.partition('class ')[2].partition('(')[0]}"


def make_environment(folder: Path) -> Path:
    """Make an environment with nothing in it."""
    venv.create(folder, symlinks=True)
    return folder


def test_a_class_of_an_earlier_release_runs_as_it_is(workshop: Workshop) -> None:
    (workshop.folder / "lib").mkdir()
    (workshop.folder / "lib" / "the_shop.py").write_text(SHOP)
    source = {"connector": write(workshop, "old.py", OLD), "credentials": {"password": "${file:password}"}}
    (workshop.folder / "password").write_text("the-very-secret")

    ran = workshop.job(source, {"items": {}}).run()

    assert ran.code == 0, ran.said
    assert workshop.table("items").to_pydict() == {"id": [1, 2, 3], "name": ["one", None, "three"]}
    assert "importing requests" in ran.stderr
    assert "the-very-secret" not in ran.said
    assert not ran.stdout.startswith("importing")
    assert "the_shop" not in sys.modules
    (plugin,) = ran.report["plugins"]
    assert (plugin["name"], plugin["outcome"], plugin["usage"]["starts"]) == ("old.py:OldReader", "ok", 1)
    assert plugin["usage"]["cpu_s"] > 0
    assert min(plugin["usage"][key] for key in ("bytes_in", "bytes_out", "peak_memory_bytes")) > 1000
    assert [process["exit_code"] for process in plugin["processes"]] == [0]


def test_a_process_that_dies_fails_its_stream_alone(workshop: Workshop) -> None:
    source = {"connector": write(workshop, "moody.py", MOODY)}

    ran = workshop.job(source, {"first": {}, "dies": {}, "last": {}}).run()

    assert ran.code == 3
    assert [stream["status"] for stream in ran.report["streams"]] == ["succeeded", "failed", "succeeded"]
    (error,) = ran.report["errors"]
    assert (error["error_code"], error["plugin"], error["stream"]) == ("PLUGIN_CRASHED", "moody.py:Moody", "dies")
    assert error["details"]["exit_code"] == 3
    assert "no more" in error["details"]["log"]
    assert workshop.table("dies").num_rows == 0
    assert len({line for line in ran.stderr.splitlines() if line.startswith("process")}) == 3
    assert ran.report["plugins"][0]["outcome"] == "failed"


@pytest.mark.parametrize(
    ("text", "code", "error_code"),
    [
        pytest.param("import os; os._exit(5)", 70, "PLUGIN_CRASHED", id="it ends"),
        pytest.param("import sys; sys.exit('bye')", 69, "PLUGIN_LOAD_ERROR", id="it exits"),
        pytest.param("import ctypes; ctypes.string_at(0)", 70, "PLUGIN_CRASHED", id="it crashes"),
    ],
)
def test_a_plugin_may_do_anything_when_it_is_imported(
    workshop: Workshop, text: str, code: int, error_code: str
) -> None:
    source = {"connector": write(workshop, "bad.py", f"{text}\nclass Bad(object): pass")}

    ran = workshop.job(source, {"items": {}}).run()

    (error,) = ran.report["errors"]
    assert (ran.code, error["error_code"], error["plugin"]) == (code, error_code, "bad.py:Bad")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_a_plugin_that_does_not_listen(
    workshop: Workshop, remains: Remains, number: signal.Signals
) -> None:
    workshop.job({"connector": write(workshop, "sleepy.py", SLEEPY)}, {"items": {}})
    command = workshop.command("run", "--progress", "none")
    env = {**os.environ, "TMPDIR": str(remains.folder)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "asleep" not in process.stderr.readline():
            assert process.poll() is None

        process.send_signal(number)
        process.stderr.read()

    assert process.returncode == 128 + number


def test_a_plugin_runs_with_the_python_of_the_environment_beside_it(workshop: Workshop) -> None:
    environment = make_environment(workshop.folder / ".venv")
    libraries = {str(Path(module.__file__ or "").parents[1]) for module in (dativo_plugin_sdk, pa)}
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(libraries))
    (workshop.folder / "dativo-plugin.yaml").write_text(
        json.dumps({"api": 1, "name": "m", "version": "1.0.0", "capabilities": {"filesystem": {"read": [*libraries]}}})
    )

    ran = workshop.job({"connector": write(workshop, "rooted.py", ROOTED)}, {"items": {}}).run()

    assert ran.code == 0, ran.said
    assert workshop.table("items").to_pydict() == {"prefix": [str(environment)]}


def test_a_python_without_the_sdk_is_told(workshop: Workshop) -> None:
    make_environment(workshop.folder / ".venv")

    ran = workshop.job({"connector": write(workshop, "moody.py", MOODY)}, {"items": {}}).run()

    (error,) = ran.report["errors"]
    assert (ran.code, error["error_code"]) == (69, "PLUGIN_LOAD_ERROR")
    assert "No module named" in error["message"]
    assert "needs dativo-plugin-sdk" in error["hint"]
