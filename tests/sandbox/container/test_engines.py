"""The engines that the tests start: real, the tests' own, and gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from container_engines import ContainerEngine, without_image
from docker import DockerClient


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> ContainerEngine:
    return request.getfixturevalue(request.param)


def test_an_engine_runs_the_image_of_plugins_without_a_registry(engine: ContainerEngine) -> None:
    with closing(DockerClient(base_url=engine.url)) as client:
        image = client.images.get(engine.image)

        assert image.id == engine.image
        assert image.labels["io.dativo.plugin-runner"] == "1"
        assert image.labels["io.dativo.python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_an_engine_is_shared_and_stays_while_somebody_uses_it(engine: ContainerEngine) -> None:
    with without_image(engine.name) as other:
        assert other.socket == engine.socket

    with closing(DockerClient(base_url=engine.url)) as client:
        assert client.ping()


def test_an_engine_ends_with_its_last_user_even_one_that_is_killed(tmp_path: Path) -> None:
    copy = tmp_path / "tests" / "support"
    copy.mkdir(parents=True)
    here = Path(sys.modules[without_image.__module__].__file__ or "").parent
    for name in ("container_engines.py", "engine_keeper.py"):
        (copy / name).write_bytes((here / name).read_bytes())
    (tmp_path / ".tools").mkdir()
    (tmp_path / ".tools" / "debian").symlink_to(here.parents[1] / ".tools" / "debian")
    program = (
        f"import sys; sys.path[:0] = [{str(copy)!r}, {str(here)!r}]\n"
        "import container_engines, os, signal\n"
        "with container_engines.without_image('podman') as engine:\n"
        "    print(engine.socket.parent, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    folder = Path(done.stdout.strip())
    assert done.returncode == -9, done.stderr
    _wait_until_gone(folder)
    shutil.rmtree(folder.parent)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{folder.parent.name}-*"))


def _wait_until_gone(folder: Path) -> None:
    """Wait for the keeper's end, which is when its last file is closed."""
    until_s = time.monotonic() + 20
    while (left := _commands_with(str(folder))) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert left == []


def _commands_with(text: str) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found
