from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from ordinary_user import UID, as_ordinary_user
from within import within

import dativo_ingest
import dativo_plugin_sdk
from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.missing_folders import made
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk.errors import DativoError

MIB = 2**20

WORLD = """
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    return {
        "root": sorted(os.listdir("/")),
        "own": sorted(os.listdir(os.path.dirname(__file__))),
        "beside": outcome(lambda: os.listdir(os.path.dirname(os.path.dirname(__file__)))),
        "uid": [os.getuid(), os.getgid(), os.getgroups()],
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "networks": [name for _, name in socket.if_nameindex()],
        "environment": sorted(os.environ),
        "home": [os.environ["HOME"], os.getcwd(), os.environ["TMPDIR"]],
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:3],
        "no_new_privileges": status["NoNewPrivs"],
        "write": {
            path: outcome(lambda: open(f"{path}/x", "w").close())
            for path in ("/", "/etc", "/dev", "/run/io", os.path.dirname(__file__), "/tmp", "/job", "/dev/shm")
        },
        "device": outcome(lambda: open("/dev/null", "w").write("x")),
        "memory": outcome(lambda: open("/proc/self/mem", "r+b").close()),
        "fork": outcome(os.fork),
        "exec": outcome(lambda: os.execv(sys.executable, [sys.executable, "-c", "0"])),
        "thread": [made := [], t := threading.Thread(target=made.append, args=(1,)), t.start(), t.join()][0],
        "hostname": socket.gethostname(),
        "user": __import__("pwd").getpwuid(os.getuid()).pw_name,
    }
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Give what one plugin's process sees, with things in its folder that are not to be seen."""
    folder = tmp_path_factory.mktemp("plugins")
    for name in (".env", ".env.local", "helper.py"):
        (folder / name).write_text("PASSWORD=1")
    for name in (".git", ".dativo", "package"):
        (folder / name).mkdir()
        (folder / name / "inner").write_text("x")
    os.environ["DATIVO_TEST_SECRET"] = "s3cret"
    try:
        return {**within(folder, WORLD), "folder": folder}
    finally:
        del os.environ["DATIVO_TEST_SECRET"]


def test_the_root_holds_what_a_plugin_needs_and_no_more(world: dict) -> None:
    places = (sys.prefix, sys.base_prefix, dativo_plugin_sdk.__file__, dativo_ingest.__file__, world["folder"])
    shown = {Path(place).parts[1] for place in places}

    assert set(world["root"]) == {"dev", "etc", "job", "lib", "lib64", "proc", "run", "tmp", "usr"} | shown
    assert world["beside"] == [world["folder"].name]


def test_what_is_not_code_in_a_plugins_folder_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PASSWORD=1")
    (tmp_path / "settings").write_text("PASSWORD=2")
    (tmp_path / ".env.production").symlink_to("settings")
    for name in (".git", ".dativo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inner").write_text("x")
    body = f"""
        def text(name):
            with open(f"{tmp_path}/" + name) as file:
                return file.read()

        return [
            *[outcome(lambda name=name: text(name)) for name in (".env", "settings", ".env.production")],
            *[outcome(lambda name=name: os.listdir(f"{tmp_path}/" + name)) for name in (".git", ".dativo")],
            outcome(lambda: open(f"{tmp_path}/.git/x", "w").close()),
        ]
    """

    seen, unconfined = within(tmp_path, body), within(tmp_path, body, confinement=Unconfined())

    assert seen == [*["EACCES"] * 3, [], [], "EROFS"]
    assert unconfined == ["PASSWORD=1", "PASSWORD=2", "PASSWORD=2", ["inner"], ["inner"], None]


def test_a_plugin_is_nobody_without_rights(world: dict) -> None:
    assert world["uid"] == [65532, 65532, []]
    assert world["user"] == "plugin"
    assert world["no_new_privileges"].strip() == "1"
    assert world["memory"] == "EACCES"


def test_a_plugin_sees_no_process_but_its_own_and_the_sandboxs(world: dict) -> None:
    assert world["pids"] == [1, 2, 3]
    assert world["hostname"] == "plugin"


def test_a_plugin_has_no_network(world: dict) -> None:
    assert world["networks"] == ["lo"]


def test_the_engines_environment_stays_outside(world: dict) -> None:
    assert "DATIVO_TEST_SECRET" not in world["environment"]
    assert "DATIVO_PLUGIN_TOKEN" not in world["environment"]
    assert world["home"] == ["/job", str(Path.cwd()), "/tmp"]


def test_only_temporary_folders_can_be_written(world: dict) -> None:
    folder = str(world["folder"])

    assert world["write"] == {
        **dict.fromkeys(("/", "/etc", "/dev", "/run/io", folder), "EROFS"),
        **dict.fromkeys(("/tmp", "/job", "/dev/shm"), None),
    }
    assert world["device"] == 1


def test_no_program_and_no_process_is_started_unasked_and_threads_go_on(world: dict) -> None:
    assert (world["fork"], world["exec"], world["thread"]) == ("EPERM", "EPERM", [1])


def test_a_plugin_that_asks_for_it_starts_programs_and_processes(tmp_path: Path) -> None:
    body = """
        import multiprocessing, subprocess
        made = subprocess.run(["uname", "-s"], capture_output=True, text=True)
        command = [sys.executable, "-c", "import dativo_plugin_sdk; print(1)"]
        own = subprocess.run(command, capture_output=True, text=True)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            numbers = pool.map(abs, [-1, -2])
        written = "/tmp/program"
        with open(written, "w") as file:
            file.write("#!/bin/sh\\necho out\\n")
        os.chmod(written, 0o755)
        return [made.stdout, own.stdout, numbers, outcome(lambda: subprocess.run([written]))]
    """

    found = within(tmp_path, body, Grant(subprocess=True))

    assert found == ["Linux\n", "1\n", [1, 2], "EACCES"]


def test_temporary_files_have_one_limit_together(tmp_path: Path) -> None:
    body = """
        def fill(path):
            with open(path, "wb", buffering=0) as file:
                written = 0
                while True:
                    try:
                        written += file.write(bytes(2**20))
                    except OSError as error:
                        return written, errno.errorcode[error.errno]

        (first, why), (second, _) = fill("/tmp/x"), fill("/dev/shm/x")
        return first + second, why, outcome(lambda: os.mkdir("/job/x"))
    """

    written, why, _ = within(tmp_path, body, Grant(tmp_bytes=8 * MIB))

    assert 7 * MIB <= written <= 8 * MIB
    assert why in {"ENOSPC", "EFBIG"}


def test_what_is_granted_is_there_whoever_may_look_at_it_and_nothing_beside_it(tmp_path: Path) -> None:
    plugins, data, out = (tmp_path / name for name in ("plugins", "data", "out"))
    for folder in (plugins, data, out):
        folder.mkdir(mode=0o700)
    (data / "rows.csv").write_text("id\n1\n")
    (data / "rows.csv").chmod(0o600)
    (data / "other.csv").write_text("secret")
    (tmp_path / "link").symlink_to("data")
    body = f"""
        def text(path):
            with open(path) as file:
                return file.read()

        def write(path):
            with open(path, "w") as file:
                return file.write("written")

        return [
            outcome(lambda: text("{tmp_path}/link/rows.csv")),
            outcome(lambda: text("{data}/other.csv")),
            outcome(lambda: write("{data}/rows.csv")),
            outcome(lambda: write("{out}/new.csv")),
            outcome(lambda: os.rename("{out}/new.csv", "{out}/final.csv")),
            outcome(lambda: write("{tmp_path}/missing/deep/new.csv")),
        ]
    """
    missing = tmp_path / "missing" / "deep"
    grant = Grant(read=(f"{tmp_path}/link/rows.csv",), write=(str(out), str(missing)))

    with made([str(missing)]):
        seen = within(plugins, body, grant)

    assert seen == ["id\n1\n", "ENOENT", "EROFS", 7, None, 7]
    assert (out / "final.csv").read_text() == "written"
    assert (out / "final.csv").stat().st_uid == os.geteuid()
    assert within(plugins, body, grant, Unconfined())[1] == "secret"


class Swapping:
    """Puts another file in a granted one's place once it has been looked at."""

    isolation = "process"
    findings = ()

    def __init__(self, path: Path, other: Path) -> None:
        self.path, self.other = path, other

    def prepare(self, spec, folder, token):
        prepared = Process().prepare(spec, folder, token)
        self.path.unlink()
        self.path.symlink_to(self.other)
        return prepared


def test_a_granted_file_that_is_swapped_meanwhile_is_not_shown(tmp_path: Path) -> None:
    plugins, mine, others = (tmp_path / name for name in ("plugins", "mine", "others"))
    plugins.mkdir()
    mine.write_text("mine")
    others.write_text("another tenant's")
    body = f"""
        return open("{mine}").read()
    """

    with pytest.raises(DativoError, match="is another file than the one that was granted"):
        within(plugins, body, Grant(read=(str(mine),)), Swapping(mine, others))


def test_a_reader_answers_from_within_whoever_runs_the_engine(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, UID, UID)
    program = """
import json, os, sys
from pathlib import Path
from within import within
body = "return [os.getuid(), outcome(os.fork), [name for _, name in socket.if_nameindex()], os.listdir('/proc')]"
print(json.dumps(within(Path(sys.argv[1]), body)))
"""
    support = Path(__file__).parents[1] / "support"
    command = as_ordinary_user([sys.executable, "-c", program, str(folder)], folder)

    environment = {**os.environ, "PYTHONPATH": str(support), "HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    uid, fork, networks, processes = json.loads(done.stdout)
    assert (uid, fork, networks) == (65532, "EPERM", ["lo"])
    assert {"1", "2", "3"} == {name for name in processes if name.isdigit()}


def test_a_program_in_another_language_runs_and_starts_no_other(tmp_path: Path) -> None:
    program = tmp_path / "plugin.sh"
    program.write_text("#!/bin/sh\nread x < /etc/shadow || echo no shadow\n/bin/true\necho more\n")
    program.chmod(0o755)
    spec = RunSpec("shell", (str(program),), Grant(), code=Code(None, tmp_path))

    with closing(Conversation(spec, Process())) as process, pytest.raises(DativoError, match="exit code 2"):
        process.greet()

    said = process.session.output.last_lines
    assert "no shadow" in said
    assert any("Cannot fork" in line for line in said)
