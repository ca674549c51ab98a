"""How containers end, and what is left of them: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from container_engines import ContainerEngine
from container_sessions import containers, spec_of, started
from engine_relay import relayed
from plugin_remains import Remains, eventually
from within import within

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.container.back_end import Container, container
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.launch import Session
from dativo_plugin_sdk.errors import DativoError, SandboxError

MIB = 2**20


@pytest.fixture
def nothing_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: ContainerEngine, folder: Path
) -> Iterator[Callable[[], None]]:
    """See afterwards that no process, folder, thread, file or container is left."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    remains = Remains(str(folder), made)
    yield remains.look
    remains.look()
    assert not eventually(lambda: containers(engine, folder))


@pytest.mark.usefixtures("nothing_left")
def test_a_process_that_ends_leaves_no_container(engine: ContainerEngine, back_end: Container, folder: Path) -> None:
    with started(folder, back_end) as session:
        assert len(containers(engine, folder)) == 1

        session.control.close()
        session.data.close()
        found = session.exit(timeout_s=20)

    assert found is not None
    assert found.signal is None
    assert session.usage().processes >= 1


@pytest.mark.usefixtures("nothing_left")
def test_a_container_that_takes_too_long_is_killed_and_removed(
    engine: ContainerEngine, back_end: Container, folder: Path
) -> None:
    with closing(Session(spec_of(folder, Grant(wall_s=3.0)), back_end)) as session:
        found = session.exit(timeout_s=30)
        left = eventually(lambda: containers(engine, folder))

    assert found is not None
    assert found.signal == signal.SIGKILL
    assert not left
    assert isinstance(session.failure, DativoError)
    assert session.failure.error_code == "RESOURCE_TIME"


@pytest.mark.usefixtures("nothing_left")
def test_a_plugin_that_prints_too_much_is_killed_while_nobody_reads(back_end: Container, folder: Path) -> None:
    (folder / "probing.py").touch()
    with pytest.raises(DativoError) as raised:
        within(folder, f"while True: sys.stdout.write('x' * {MIB})", Grant(log_bytes=MIB), back_end)

    assert raised.value.error_code == "RESOURCE_OUTPUT"


@pytest.mark.usefixtures("nothing_left")
def test_both_outputs_arrive_whole_and_in_order(back_end: Container, folder: Path) -> None:
    text = (
        "import sys\nfor n in range(3000):\n print('out', n)\n print('err', n, file=sys.stderr)\nsys.stdout.flush()\n"
    )
    spec = spec_of(folder, Grant(log_bytes=MIB), code=text + "sys.exit(3)")
    told: list[str] = []
    with closing(Conversation(spec, back_end)) as process:
        process.session.output._tell = told.append
        process.greet()
        with pytest.raises(DativoError):
            process.ask(
                "spec", {"plugin": {"file": f"{folder}/plugin.py", "class": "X"}, "kind": "reader"}, within="start"
            )

    for name in ("out", "err"):
        assert [line for line in told if line.startswith(name)] == [f"{name} {number}" for number in range(3000)]


@pytest.mark.usefixtures("nothing_left")
def test_memory_that_does_not_suffice_is_told_as_what_it_is(back_end: Container, folder: Path) -> None:
    grant = Grant(memory_bytes=160 * MIB)

    with pytest.raises(DativoError) as raised:
        within(folder, f"kept = [bytearray(b'x' * {MIB}) for _ in range(2000)]", grant, back_end)

    assert raised.value.error_code == "RESOURCE_MEMORY"
    assert "resources.memory" in str(raised.value.hint)


@pytest.mark.usefixtures("nothing_left")
def test_no_more_processes_start_than_are_granted(back_end: Container, folder: Path) -> None:
    body = """
    started = 0
    def start():
        nonlocal started
        while started < 500:
            child = os.fork()
            if child == 0:
                import time
                time.sleep(30)
                os._exit(0)
            started += 1
    return outcome(start), started
    """

    stopped, begun = within(folder, body, Grant(subprocess=True, pids=24), back_end)

    assert stopped == "EAGAIN"
    assert 16 < begun < 24


KILLED = """
import os, signal, sys, tempfile
from pathlib import Path
from container_sessions import started
from dativo_ingest.sandbox.container.back_end import container
engine, image, folder, tempfile.tempdir = sys.argv[1:]
with started(Path(folder), container(engine=engine, image=image, runtime=None)):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("nothing_left")
def test_an_engine_that_is_killed_leaves_no_container(engine: ContainerEngine, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, engine.url, engine.image, str(folder), str(tmp_path / "tmp")]
    support = str(Path(sys.modules[started.__module__].__file__ or "").parent)

    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": support}, timeout=60, check=False)

    assert done.returncode == -signal.SIGKILL
    assert not eventually(lambda: containers(engine, folder))
    assert not eventually(lambda: list((tmp_path / "tmp").iterdir()))


def test_an_engine_that_goes_away_is_told_and_leaves_nothing_when_it_is_back(
    engine: ContainerEngine, folder: Path
) -> None:
    with relayed(Path("/tmp", f"dativo-relay-{os.getpid()}-{time.monotonic_ns()}"), engine.socket) as relay:
        back_end = container(engine=relay.url, image=engine.image, runtime=None)
        with closing(Conversation(spec_of(folder), back_end)) as process:
            process.greet()
            relay.cut()
            process.session.exit(timeout_s=20)
            with pytest.raises(SandboxError) as raised:
                process.ask("spec", {"plugin": {"file": "/no", "class": "X"}, "kind": "reader"}, within="start")
            was_left = bool(containers(engine, folder))
            relay.join()

        assert was_left
        assert raised.value.error_code == "SANDBOX_UNAVAILABLE"
        assert not eventually(lambda: containers(engine, folder))
