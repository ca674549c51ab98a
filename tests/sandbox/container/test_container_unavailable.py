"""What is told where a container cannot be had as it is wanted; nothing of a plugin runs then."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from archive import Image, write_archive
from container_engines import ContainerEngine
from container_sessions import containers, spec_of
from docker import DockerClient
from image_files import ImageFiles
from ordinary_user import as_ordinary_user
from plugin_remains import eventually

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox import seccomp
from dativo_ingest.sandbox.container.back_end import Container, container
from dativo_ingest.sandbox.container.engine import connected, image_of
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_plugin_sdk.errors import SandboxError

ANY = f"sha256:{'0' * 64}"


def refused(raised: pytest.ExceptionInfo[SandboxError]) -> str:
    """Give the message of an error that says what cannot be had, and what to do."""
    assert raised.value.error_code == "SANDBOX_UNAVAILABLE"
    assert raised.value.hint
    return f"{raised.value} {raised.value.hint}"


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SandboxError) as raised:
        container(engine=f"unix://{tmp_path}/docker.sock", image=ANY, runtime=None)

    assert f"{tmp_path}/docker.sock" in refused(raised)


def test_an_engine_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    with pytest.raises(SandboxError) as raised:
        container(engine=None, image=ANY, runtime=None)

    assert "tcp://127.0.0.1:1" in refused(raised)


def test_the_engine_is_found_by_its_variable(monkeypatch: pytest.MonkeyPatch, docker: ContainerEngine) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.url)

    found = container(engine=None, image=docker.image, runtime=None)

    assert found.engine.socket == docker.socket


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dativo-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_socket_that_nobody_listens_on(short_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_folder / "docker.sock"))

        with pytest.raises(SandboxError) as raised:
            container(engine=f"unix://{short_folder}/docker.sock", image=ANY, runtime=None)

    assert "does not answer" in refused(raised)


def test_a_socket_that_this_user_may_not_open(short_folder: Path) -> None:
    program = (
        "from dativo_ingest.sandbox.container.back_end import container\n"
        f"try: container(engine='unix://{short_folder}/docker.sock', image={ANY!r}, runtime=None)\n"
        "except Exception as error: print(error.error_code, error, error.hint)\n"
    )
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_folder / "docker.sock"))
        (short_folder / "docker.sock").chmod(0o600)
        command = as_ordinary_user([sys.executable, "-c", program], short_folder)

        done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("SANDBOX_UNAVAILABLE")
    assert "may not open" in done.stdout
    assert "group" in done.stdout


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, docker: ContainerEngine) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)

    with pytest.raises(SandboxError) as raised:
        container(engine=docker.url, image=docker.image, runtime=None)

    assert "dativo-ingest[container]" in refused(raised)


def test_an_image_that_nobody_names(docker: ContainerEngine) -> None:
    with pytest.raises(SandboxError) as raised:
        container(engine=docker.url, image=None, runtime=None)

    assert "sandbox.image" in refused(raised)


def test_an_image_that_the_engine_does_not_have(engine: ContainerEngine) -> None:
    for name in (ANY, f"dativo/plugin-runner@{ANY}"):
        with pytest.raises(SandboxError) as raised:
            container(engine=engine.url, image=name, runtime=None)

        assert name in refused(raised)


def test_an_image_that_is_another_one_than_its_name_says(engine: ContainerEngine) -> None:
    with closing(DockerClient(base_url=engine.url)) as client:
        (name, *_) = client.images.get(engine.image).tags

    with connected(engine.socket) as client, pytest.raises(SandboxError) as raised:
        image_of(client, name)

    assert engine.image in refused(raised)


def test_an_image_that_is_none_for_plugins(engine: ContainerEngine, tmp_path: Path) -> None:
    with (tmp_path / "image.tar").open("w+b") as archive:
        other = write_archive(Image("dativo/other:1", {}), [ImageFiles(texts={"etc/motd": b"hello"})], archive)
        archive.seek(0)
        with closing(DockerClient(base_url=engine.url)) as client:
            client.images.load(archive)
            with pytest.raises(SandboxError) as raised:
                container(engine=engine.url, image=other, runtime=None)
            client.images.remove(other, force=True)

    assert "none for plugins" in refused(raised)


def test_a_runtime_that_the_engine_does_not_have(engine: ContainerEngine) -> None:
    with pytest.raises(SandboxError) as raised:
        container(engine=engine.url, image=engine.image, runtime="kata-qemu")

    assert "kata-qemu" in refused(raised)


def test_a_runtime_that_podman_would_not_take(podman: ContainerEngine) -> None:
    with pytest.raises(SandboxError) as raised:
        container(engine=podman.url, image=podman.image, runtime="runsc")

    assert "containers.conf" in refused(raised)


def test_a_container_that_the_engine_does_not_make(engine: ContainerEngine, back_end: Container, folder: Path) -> None:
    gone = replace(back_end, image=replace(back_end.image, id=ANY))

    with pytest.raises(SandboxError) as raised, closing(Conversation(spec_of(folder), gone)) as process:
        process.greet()

    assert "cannot be made" in refused(raised)
    assert not eventually(lambda: containers(engine, folder))


def test_a_profile_that_is_not_as_it_was_installed(
    monkeypatch: pytest.MonkeyPatch, back_end: Container, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "plugin-v1.json").write_text("{}")
    monkeypatch.setattr(seccomp, "_FOLDER", tmp_path)

    with pytest.raises(SandboxError) as raised:
        Conversation(spec_of(folder), back_end)

    assert "plugin-v1.json" in refused(raised)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_environment_of_another_python(back_end: Container, folder: Path) -> None:
    environment = folder / ".venv"
    (environment / "lib" / "python3.9" / "site-packages").mkdir(parents=True)
    spec = RunSpec("old", (), code=Code(environment / "bin" / "python", folder, folder / "plugin.py"))

    with pytest.raises(SandboxError) as raised:
        Conversation(spec, back_end)

    assert "3.9" in refused(raised)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_packages_that_are_somewhere_else(back_end: Container, folder: Path) -> None:
    version = back_end.image.labels["io.dativo.python"]
    packages = folder / ".venv" / "lib" / f"python{version}" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to("/etc")
    spec = RunSpec("sly", (), code=Code(folder / ".venv" / "bin" / "python", folder, folder / "plugin.py"))

    with pytest.raises(SandboxError) as raised:
        Conversation(spec, back_end)

    assert "not in the plugin's folder" in refused(raised)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_environment_of_the_engine_for_another_python_than_the_images(back_end: Container) -> None:
    labels = {**back_end.image.labels, "io.dativo.abi": "cpython-399-riscv"}
    other = replace(back_end, image=replace(back_end.image, labels=labels))

    with pytest.raises(SandboxError) as raised:
        Conversation(RunSpec("installed", (), code=Code(Path(sys.executable))), other)

    assert "cpython-399-riscv" in refused(raised)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_a_granted_folder_that_plugins_may_not_write(back_end: Container, folder: Path) -> None:
    kept = folder.parent / "kept"
    kept.mkdir(mode=0o755)

    with pytest.raises(SandboxError) as raised:
        Conversation(spec_of(folder, Grant(write=(str(kept),))), back_end)

    assert "chown" in refused(raised)


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_an_installed_plugin_runs_with_the_packages_that_are_installed_with_it(back_end: Container) -> None:
    spec = RunSpec("csv", (), code=Code(Path(sys.executable)))

    with closing(Conversation(spec, back_end)) as process:
        process.greet()
        asked = {"plugin": {"entry_point": "dativo_ingest.sources.csv:CsvReader"}, "kind": "reader"}
        said = process.ask("spec", asked, within="start")

    assert said["kind"] == "reader"
