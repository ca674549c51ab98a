"""A secret's value is with its plugin and nowhere else: looked for while plugins run, and in what they leave."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from container_engines import ContainerEngine
from docker import DockerClient

MANIFEST = """\
api: 1
name: chatty
version: 1.0.0
capabilities: {secrets: [api_key]}
"""
PLUGIN = """\
import base64
import ctypes
import logging
import resource
import sys
import time
from urllib.parse import quote

from dativo_plugin_sdk import BaseReader, ConnectionTestResult


class Chatty(BaseReader):
    __version__ = "1.0.0"

    def extract(self, state_manager=None):
        key = self.source_config.credentials["api_key"]
        core, dumpable = resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
        print(f"core {core} dumpable {dumpable}", flush=True)
        for told in (key, quote(key, safe=""), base64.b64encode(key.encode()).decode()):
            print("printed", told, flush=True)
            print("printed", told, file=sys.stderr, flush=True)
            logging.getLogger("chatty").warning("logged %s", told)
        time.sleep(1.0)
        if self.source_config.options["how"] == "crash":
            ctypes.string_at(0)
        raise ValueError(f"the key {key} is of no use")
"""
HIDDEN = "*" * 10
SIGNS = {"raise": f"the key {HIDDEN} is of no use", "crash": "PLUGIN_CRASHED"}
LONGEST_S = 120


@dataclass
class Found:
    """What was seen of a run.

    Attributes:
        leaks: Where the value was.
        looked_at: What was looked at, by kind: that there was something to be seen.
    """

    leaks: list[str] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)

    def look(self, where: str, kind: str, content: bytes, forms: list[bytes]) -> None:
        self.looked_at[kind] = self.looked_at.get(kind, 0) + 1
        if any(form in content for form in forms):
            self.leaks.append(f"{kind}: {where}")


@dataclass
class Scene:
    """A job whose source is a plugin that tells its secret to everybody."""

    folder: Path
    value: str = field(default_factory=lambda: f"s3cr/t+{secrets.token_hex(12)}==")

    def __post_init__(self) -> None:
        plugin = self.folder / "plugin"
        plugin.mkdir(parents=True)
        (plugin / "chatty.py").write_text(PLUGIN)
        (plugin / "dativo-plugin.yaml").write_text(MANIFEST)
        (self.folder / "tmp").mkdir()
        (self.folder / "key").write_text(self.value)

    @property
    def forms(self) -> list[bytes]:
        """Give the value as it may be written."""
        plain = self.value.encode()
        return [plain, quote(plain, safe="").encode(), base64.b64encode(plain).rstrip(b"=")]

    def command(self, how: str, sandbox: dict[str, Any]) -> list[str]:
        """Write the job and the policy; give the command that runs it."""
        job = {
            "version": 1,
            "name": "chatty",
            "tenant": "acme",
            "source": {
                "connector": f"{self.folder}/plugin/chatty.py:Chatty",
                "credentials": {"api_key": "${file:key}"},
                "options": {"how": how},
            },
            "target": {"connector": "parquet", "connection": {"path": str(self.folder / "lake")}},
            "streams": {"orders": {"mode": "full_refresh", "write": "overwrite"}},
        }
        policy = {"version": 1, "defaults": {"audit": "audit.jsonl", "sandbox": sandbox}}
        for name, document in (("job", job), ("policy", policy)):
            (self.folder / f"{name}.yaml").write_text(json.dumps(document))
        files = ("--config", "job.yaml", "--policy", "policy.yaml", "--report", "report.json")
        return [sys.executable, "-m", "dativo_ingest", "run", *files, "--progress", "json", "--log-format", "json"]

    @contextmanager
    def running(self, how: str, sandbox: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp"), "LANG": "C.UTF-8"}
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                self.command(how, sandbox), cwd=self.folder, env=environment, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()


def watch(scene: Scene, process: subprocess.Popen[bytes], engine: ContainerEngine | None) -> Found:
    """Look at every process of the machine, and at the containers, for as long as a run takes."""
    found = Found()
    until_s = time.monotonic() + LONGEST_S
    while process.poll() is None and time.monotonic() < until_s:
        for entry in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    content = (entry / name).read_bytes()
                    is_plugins = b"DATIVO_PLUGIN_TOKEN" in content or b"dativo/inside" in content
                    found.look(str(entry), f"{name} of the plugin" if is_plugins else name, content, scene.forms)
        if engine is not None:
            with closing(DockerClient(base_url=engine.url)) as client:
                for each in client.api.containers(filters={"label": "io.dativo.plugin"}):
                    with suppress(OSError):
                        inspected = json.dumps(client.api.inspect_container(each["Id"])).encode()
                        found.look(each["Id"], "inspected container", inspected, scene.forms)
        time.sleep(0.05)
    assert process.returncode is not None, "the run takes too long"
    for path in scene.folder.rglob("*"):
        if path.is_file() and path.name != "key":
            found.look(str(path), path.name, path.read_bytes(), scene.forms)
    return found


@pytest.fixture(params=["process", "docker"])
def held(request: pytest.FixtureRequest) -> tuple[dict[str, Any], ContainerEngine | None]:
    """Give a policy's sandbox, and the container engine that it needs."""
    if request.param == "process":
        return {"backend": "process"}, None
    engine: ContainerEngine = request.getfixturevalue(request.param)
    return {"backend": "container", "engine": engine.url, "image": engine.image}, engine


@pytest.mark.parametrize("how", SIGNS)
def test_the_value_of_a_secret_is_nowhere_but_with_its_plugin(
    how: str, held: tuple[dict[str, Any], ContainerEngine | None], tmp_path: Path
) -> None:
    scene = Scene(tmp_path / "scene")
    sandbox, engine = held

    with scene.running(how, sandbox) as process:
        found = watch(scene, process, engine)

    said = (scene.folder / "said").read_text()
    assert process.returncode == 70, said
    assert not found.leaks
    assert SIGNS[how] in said
    assert said.count(f"printed {HIDDEN}") >= 6
    assert f"logged {HIDDEN}" in said
    wanted = {"cmdline", "cmdline of the plugin", "said", "report.json", "audit.jsonl"}
    wanted |= {"environ of the plugin"} if engine is None else {"inspected container"}
    assert wanted <= found.looked_at.keys()
    assert not [path for path in found.looked_at if path.startswith("core")]
    assert "core (0, 0) dumpable 0" in said


def test_a_value_that_is_somewhere_else_is_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "scene")
    (scene.folder / "left").write_text(f"a {scene.value} b")

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)", scene.value]) as process:
        found = watch(scene, process, None)

    assert {f"cmdline: /proc/{process.pid}", f"left: {scene.folder / 'left'}"} <= set(found.leaks)
