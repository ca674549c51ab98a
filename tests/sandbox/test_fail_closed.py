"""Where something of a sandbox is missing nothing of a plugin runs, and nothing is tried with less."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import no_namespaces
import pytest
import yaml
from click.testing import CliRunner, Result
from fake_engine import answering

from dativo_ingest.cli.program import dativo
from dativo_ingest.sandbox import seccomp
from dativo_ingest.sandbox.inside import landlock

DATIVO = (sys.executable, "-m", "dativo_ingest")
IMAGE = "sha256:" + "ab" * 32
PLUGIN = """\
import sys
from pathlib import Path

from dativo_plugin_sdk import BaseReader

print("canary: it ran", flush=True)
try:
    Path(__file__).with_name("canary").touch()
except OSError:
    pass


class Shop(BaseReader):
    __version__ = "1.0.0"

    def extract(self, state_manager=None):
        yield [{"n": 1}]
"""


class Shop:
    """A job of a plugin that tells when it runs, and a policy that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "plugin").mkdir()
        (folder / "plugin" / "shop.py").write_text(PLUGIN)
        job = {
            "version": 1,
            "name": "orders",
            "source": {"connector": f"{folder}/plugin/shop.py:Shop"},
            "target": {"connector": "parquet", "connection": {"path": str(folder / "lake")}},
            "streams": {"orders": {}},
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(job))

    def order(self, *command: str, **sandbox: Any) -> list[str]:
        policy = {"version": 1, "defaults": {"sandbox": sandbox}}
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(policy))
        return [*command, "-c", f"{self.folder}/job.yaml", "--policy", f"{self.folder}/policy.yaml"]

    def call(self, *command: str, **sandbox: Any) -> Result:
        return CliRunner().invoke(dativo, self.order(*command, **sandbox))

    def ran(self, said: str) -> bool:
        return "canary: it ran" in said or (self.folder / "plugin" / "canary").exists()

    def was_refused(self, code: int, said: str, *, why: str) -> None:
        assert code == 69, said
        assert "SANDBOX_UNAVAILABLE" in said
        assert why in said
        assert not self.ran(said)
        assert not list(self.folder.glob("lake/**/*.parquet"))
        log = (self.folder / ".dativo" / "audit.jsonl").read_text().splitlines()
        assert [json.loads(line)["event"] for line in log] == ["refused"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def bwrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a program called bwrap onto the path, alone, where every user may run it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("PATH", folder)

        def put(script: str) -> None:
            Path(folder, "bwrap").write_text(f"#!/bin/sh\n{script}\n")
            Path(folder, "bwrap").chmod(0o755)

        yield put


def test_where_nothing_is_missing_it_runs(shop: Shop) -> None:
    done = shop.call("run", backend="process")

    assert done.exit_code == 0, done.output
    assert "canary: it ran" in done.output
    assert not (shop.folder / "plugin" / "canary").exists()  # in the sandbox it may not write there


@pytest.mark.usefixtures("bwrap")
def test_bubblewrap_that_is_missing(shop: Shop) -> None:
    done = shop.call("run", backend="process")

    shop.was_refused(done.exit_code, done.output, why="there is no bwrap on the PATH")
    assert "install bubblewrap 0.8 or newer" in done.output


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("command", [("check",), ("discover",), ("preview",), ("state", "get"), ("table", "health")])
def test_every_command_is_refused(command: tuple[str, ...], shop: Shop) -> None:
    done = shop.call(*command, backend="process")

    assert done.exit_code == 69
    assert "SANDBOX_UNAVAILABLE" in done.output
    assert not shop.ran(done.output)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        pytest.param("echo bubblewrap 0.5.0", "0.5, which is too old", id="too old"),
        pytest.param("echo something else 9.9", "does not tell its version", id="another program"),
        pytest.param("exit 3", "does not tell its version", id="one that fails"),
        pytest.param(
            'test "$1" = --version && echo bubblewrap 0.11.0 && exit; echo "bwrap: No permissions" >&2; exit 1',
            "No permissions",
            id="one that may not make namespaces",
        ),
    ],
)
def test_bubblewrap_that_does_not_do(script: str, why: str, shop: Shop, bwrap: Callable[[str], None]) -> None:
    bwrap(script)

    done = shop.call("run", backend="process")

    shop.was_refused(done.exit_code, done.output, why=why)


def test_bubblewrap_that_only_pretends(shop: Shop, bwrap: Callable[[str], None]) -> None:
    """What is run in a sandbox that is none finds that out, if it gets so far, before it runs the plugin."""
    bwrap(
        'test "$1" = --version && echo bubblewrap 0.11.0 && exit\n'
        'while test "$1" != --; do shift; done; shift; exec "$@"'
    )

    done = shop.call("run", backend="process")

    assert done.exit_code == 69, done.output
    assert "granted" in (shop.folder / ".dativo" / "audit.jsonl").read_text()  # it was let begin
    assert not shop.ran(done.output)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_profile_of_system_calls_that_is_not_as_it_was_installed(
    damage: str, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "profile").mkdir()
    for path in seccomp._FOLDER.glob(f"{seccomp.PROFILE}*") if damage == "changed" else ():
        (tmp_path / "profile" / path.name).write_bytes(path.read_bytes()[:-8] + bytes(8))
    monkeypatch.setattr(seccomp, "_FOLDER", tmp_path / "profile")

    done = shop.call("run", backend="process")

    shop.was_refused(done.exit_code, done.output, why="install dativo-ingest again")


def test_a_kernel_without_landlock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)

    done = shop.call("run", backend="process")

    shop.was_refused(done.exit_code, done.output, why="landlock: absent, this kernel has no Landlock")
    assert "sandbox.allow_degraded: [landlock]" in done.output


def finished(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def test_user_namespaces_that_are_switched_off(shop: Shop) -> None:
    order = shop.order("run", backend="process")

    code, said = finished([sys.executable, no_namespaces.__file__, *DATIVO, *order])

    shop.was_refused(code, said, why="files: absent")
    assert "user.max_user_namespaces" in said


READ_ONLY = """
mount --rbind --make-rprivate /sys/fs/cgroup /sys/fs/cgroup
mount -o remount,bind,ro /sys/fs/cgroup
for each in /sys/fs/cgroup/*/; do mount -o remount,bind,ro $each 2>/dev/null || true; done
exec "$@"
"""


def test_groups_that_cannot_be_written(shop: Shop) -> None:
    """Where the operator lets no control be weaker, nothing runs; else the report says that they are."""
    without_groups = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh", *DATIVO]
    strict = shop.order("run", backend="process", allow_degraded=[])

    code, said = finished([*without_groups, *strict])

    shop.was_refused(code, said, why="memory: weaker")
    assert "Delegate=yes" in said
    lenient = shop.order("run", backend="process")
    report = shop.folder / "report.json"
    code, said = finished([*without_groups, *lenient, "--report", str(report)])
    assert code == 0, said
    (plugin,) = json.loads(report.read_text())["plugins"]
    assert {plugin["controls"][each] for each in ("memory", "pids", "cpu")} == {"weaker"}


def test_a_container_engine_that_is_not_there(shop: Shop) -> None:
    done = shop.call("run", backend="container", image=IMAGE, engine=f"unix://{shop.folder}/none.sock")

    shop.was_refused(done.exit_code, done.output, why=f"there is no container engine at {shop.folder}/none.sock")


def test_a_container_engine_that_is_none(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "engine.sock").touch()

    done = shop.call("run", backend="container", image=IMAGE, engine=f"unix://{tmp_path}/engine.sock")

    shop.was_refused(done.exit_code, done.output, why=f"{tmp_path}/engine.sock")


def test_an_image_that_nobody_names(shop: Shop) -> None:
    done = shop.call("run", "--mode", "cloud")

    shop.was_refused(done.exit_code, done.output, why="nobody says which image plugins run in")


@pytest.mark.parametrize(
    ("images", "why"),
    [
        pytest.param({}, f"does not have the image {IMAGE}", id="absent"),
        pytest.param(
            {IMAGE: {"Id": "sha256:" + "cd" * 32, "RepoDigests": [], "Config": {"Labels": {}}}},
            "is not what the container engine has under that name",
            id="another one",
        ),
        pytest.param(
            {IMAGE: {"Id": IMAGE, "RepoDigests": [], "Config": {"Labels": {"io.dativo.plugin-runner": "0"}}}},
            "is one for plugins of another release",
            id="of another release",
        ),
        pytest.param(
            {IMAGE: {"Id": IMAGE, "RepoDigests": [], "Config": {}}}, "is none for plugins", id="none for plugins"
        ),
    ],
)
def test_an_image_that_is_not_what_the_policy_pins(images: dict[str, Any], why: str, shop: Shop) -> None:
    asked: list[str] = []

    with answering(shop.folder / "engine.sock", images, asked):
        done = shop.call("run", backend="container", image=IMAGE, engine=f"unix://{shop.folder}/engine.sock")

    shop.was_refused(done.exit_code, done.output, why=why)
    assert not [each for each in asked if each.startswith("POST")]


def test_a_runtime_that_the_engine_does_not_have(shop: Shop) -> None:
    asked: list[str] = []

    with answering(shop.folder / "engine.sock", {}, asked):
        engine = f"unix://{shop.folder}/engine.sock"
        done = shop.call("run", backend="container", image=IMAGE, engine=engine, runtime="runsc")

    shop.was_refused(done.exit_code, done.output, why="has no runtime runsc")


def test_less_than_the_job_demands(shop: Shop) -> None:
    job = yaml.safe_load((shop.folder / "job.yaml").read_text())
    (shop.folder / "job.yaml").write_text(yaml.safe_dump({**job, "sandbox": {"min": "vm"}}))

    done = shop.call("run", backend="process")

    shop.was_refused(done.exit_code, done.output, why="at least isolation vm")


def test_no_sandbox_for_code_that_nobody_trusts(shop: Shop) -> None:
    done = shop.call("run", backend="none")

    shop.was_refused(done.exit_code, done.output, why="is not trusted")


def test_code_that_is_trusted_runs_without_a_sandbox_with_a_warning_until_it_changes(shop: Shop) -> None:
    refused = shop.call("run", backend="none").output
    code = refused[refused.index("sha256:") :][: len("sha256:") + 64]
    policy = {"version": 1, "defaults": {"sandbox": {"backend": "none"}, "plugins": {"trusted": [code]}}}
    (shop.folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    order = ["run", "-c", f"{shop.folder}/job.yaml", "--policy", f"{shop.folder}/policy.yaml"]

    trusted = [CliRunner().invoke(dativo, order) for _ in range(2)]
    (shop.folder / "plugin" / "helping.py").write_text("")
    changed = CliRunner().invoke(dativo, order)

    assert [each.exit_code for each in trusted] == [0, 0], trusted[0].output
    assert all("runs without a sandbox" in each.output for each in trusted)
    assert (shop.folder / "plugin" / "canary").exists()  # so much for no sandbox
    assert changed.exit_code == 69
    assert "is not trusted" in changed.output
