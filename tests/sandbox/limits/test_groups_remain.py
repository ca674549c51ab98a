from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from plugin_remains import eventually

from dativo_ingest.sandbox.cgroups import limits_plan
from dativo_ingest.sandbox.confinement import Prepared
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.unconfined import Unconfined

ENGINE = """
import json, sys, tempfile, time
from pathlib import Path
tempfile.tempdir = sys.argv[1]
from test_groups_remain import Grouped
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.run_spec import RunSpec
session = Session(RunSpec("sleeper", ("sleep", "600")), Grouped())
folders = session._prepared.plan["cgroup"]["folders"]
while not all(Path(each, "cgroup.procs").exists() and Path(each, "cgroup.procs").read_text() for each in folders):
    time.sleep(0.01)
print(json.dumps(folders), flush=True)
time.sleep(600)
"""


class Grouped(Unconfined):
    """Nothing but a control group."""

    isolation: Isolation = "process"

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        prepared = super().prepare(spec, folder, token)
        return Prepared(prepared.warden, {**prepared.plan, **limits_plan(spec.grant)}, prepared.environment)


class Spoiled(Grouped):
    """A control group that cannot be made."""

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        prepared = super().prepare(spec, folder, token)
        group = {**prepared.plan["cgroup"], "folders": ["/sys/fs/cgroup/nowhere/of-ours/one"]}
        return Prepared(prepared.warden, {**prepared.plan, "cgroup": group}, prepared.environment)


def test_no_group_outlives_an_engine_that_is_killed(tmp_path: Path) -> None:
    path = {"PYTHONPATH": str(Path(__file__).parent), "PATH": "/usr/bin:/bin"}
    support = str(Path(__file__).parents[2] / "support")
    path["PYTHONPATH"] += f":{support}"
    command = [sys.executable, "-c", ENGINE, str(tmp_path)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, env=path) as engine:
        assert engine.stdout is not None
        folders = [Path(each) for each in json.loads(engine.stdout.readline())]
        were_there = [each.exists() for each in folders]
        engine.kill()

    assert were_there
    assert all(were_there)
    assert not eventually(lambda: [each for each in folders if each.exists()])
    assert not eventually(lambda: list(tmp_path.iterdir()))


def test_a_group_that_cannot_be_made_is_a_sandbox_that_cannot_be_had_and_nothing_has_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    session = Session(RunSpec("marker", ("touch", str(mark)), Grant()), Spoiled())
    connected = session.connect(lambda: None)
    session.close()

    assert not connected
    assert session.failure is not None
    assert session.failure.error_code == "SANDBOX_UNAVAILABLE"
    assert "no control group can be made" in str(session.failure)
    assert not mark.exists()
