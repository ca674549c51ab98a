"""The images, built from this environment: the same bytes for the same files, and nothing that does not belong."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import container_engines
import plugin_runner
import pytest
from archive import write_rootfs
from container_engines import ContainerEngine
from docker import DockerClient
from image_files import ImageFiles, required

from dativo_ingest.sandbox.container.back_end import CONTRACT, IMAGE_LABEL

SCRIPTS = Path(__file__).parents[3] / "deploy" / "images"
SHELLS = {"sh", "bash", "dash", "busybox", "ash", "su", "sudo", "login", "mount", "apt-get", "dpkg", "rpm", "pip"}


@pytest.fixture(scope="module")
def archive(docker: ContainerEngine) -> Path:  # it has the image: then the archive is there
    assert docker.image
    return container_engines.archive("plugin_runner")


@pytest.fixture(scope="module")
def entries(archive: Path) -> dict[str, tarfile.TarInfo]:
    found = {}
    with tarfile.open(archive) as image:
        manifest = image.extractfile("manifest.json")
        assert manifest is not None
        for name in json.load(manifest)[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                found.update({entry.name: entry for entry in layer})
    return found


def test_the_same_files_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "plugin_runner.py"), str(tmp_path / "again.tar")]

    done = subprocess.run(command, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)

    first, again = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (archive, tmp_path / "again.tar"))
    assert first == again
    assert done.stdout.strip() == f"sha256:{archive.stem.rpartition('-')[2]}"


def test_a_rootfs_has_the_same_files_in_one_archive(tmp_path: Path) -> None:
    below, above = ImageFiles(texts={"etc/motd": b"hello"}), ImageFiles(texts={"srv/x": b"x"}, links={"y": "srv/x"})

    with (tmp_path / "rootfs.tar").open("wb") as target:
        write_rootfs([below, above], target)

    with tarfile.open(tmp_path / "rootfs.tar") as archive:
        assert archive.getnames() == ["etc", "srv", "etc/motd", "srv/x", "y"]


def test_nothing_is_setuid_or_anybodys_to_write(entries: dict[str, tarfile.TarInfo]) -> None:
    special = stat.S_ISUID | stat.S_ISGID
    assert not [name for name, entry in entries.items() if entry.mode & special]
    assert [name for name, entry in entries.items() if entry.mode & 0o002 and not entry.issym()] == ["tmp"]
    assert {entry.uid for entry in entries.values()} == {0}


def test_there_is_neither_a_shell_nor_a_package_manager(entries: dict[str, tarfile.TarInfo]) -> None:
    programs = {Path(name).name for name, entry in entries.items() if entry.mode & 0o111 and entry.isfile()}

    assert not programs & SHELLS
    assert {name for name in entries if "/bin/" in name} == {
        f"usr/local/bin/{name}" for name in ("python", "python3", f"python3.{sys.version_info.minor}")
    }


def test_an_image_has_what_a_plugin_needs(entries: dict[str, tarfile.TarInfo]) -> None:
    site = f"usr/local/lib/python3.{sys.version_info.minor}/site-packages"

    assert f"{site}/dativo_plugin_sdk/host/__main__.py" in entries
    assert f"{site}/pyarrow/__init__.py" in entries
    assert "run/dativo/inside/__main__.py" in entries
    assert "etc/ssl/certs/ca-certificates.crt" in entries
    assert not any(name.startswith(f"{site}/dativo_ingest") for name in entries)


def test_what_a_distribution_requires_comes_with_it() -> None:
    found = required("dativo-plugin-sdk")

    assert {"dativo-plugin-sdk", "pyarrow", "pydantic", "pydantic-core"} <= found
    assert "duckdb" not in found


def test_other_distributions_can_be_added() -> None:
    below, _ = plugin_runner.layers(["pyyaml"])

    assert any(name.endswith("site-packages/yaml/__init__.py") for name in below.files)


@pytest.mark.parametrize("name", ["plugin-runner", "engine"])
def test_a_dockerfile_starts_from_nothing_that_is_not_pinned(name: str) -> None:
    lines = (SCRIPTS / f"{name}.Dockerfile").read_text().splitlines()

    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert set(bases) <= {"${PYTHON}", "scratch"}
    assert "ARG PYTHON" in lines  # without a default
    assert any(line.startswith("RUN case") and "*@sha256:*" in line and "exit 1" in line for line in lines)


def test_the_dockerfile_makes_what_the_script_makes() -> None:
    config = plugin_runner.image().config
    text = (SCRIPTS / "plugin-runner.Dockerfile").read_text().rpartition("FROM scratch")[2]
    said = dict(line.split(" ", 1) for line in text.strip().splitlines() if not line.startswith("ARG"))

    assert said["USER"] == config["User"]
    assert said["WORKDIR"] == config["WorkingDir"]
    assert said["ENV"].split() == config["Env"]
    assert {each.split("=")[0] for each in said["LABEL"].split()} == set(config["Labels"])
    assert f"{IMAGE_LABEL}={CONTRACT}" in said["LABEL"].split()
    assert config["Labels"][IMAGE_LABEL] == CONTRACT


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "rows.csv").write_text("id,name\n1,one\n2,two\n")
    source = {"connector": "csv", "connection": {"path": "rows.csv"}}
    target = {"connector": "parquet", "connection": {"path": "lake"}}
    document = {"version": 1, "name": "rows", "source": source, "target": target, "streams": {"rows": {}}}
    (folder / "job.json").write_text(json.dumps(document))
    return folder


def test_dativo_itself_runs_a_job_in_a_container_of_its_own_image(docker: ContainerEngine, job: Path) -> None:
    image = container_engines.load(docker, "engine")
    held = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    volumes = {str(job): {"bind": "/jobs", "mode": "rw"}}

    with closing(DockerClient(base_url=docker.url)) as client:
        run = client.containers.run
        version = run(image, ["--version"], remove=True, **held)
        done = run(
            image,
            ["run", "--config", "/jobs/job.json", "--progress", "none", "--report", "/jobs/report.json"],
            remove=True,
            tmpfs={"/tmp": "size=64m"},
            volumes=volumes,
            **held,
        )

    report = json.loads((job / "report.json").read_text())
    assert b"dativo" in version
    assert done is not None
    assert report["streams"][0]["rows"]["written"] == 2
    assert list((job / "lake").rglob("*.parquet"))
