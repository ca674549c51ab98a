"""Jobs of the examples whose plugins run in containers, as an operator has it in the cloud."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pytest
from container_engines import ContainerEngine
from container_sessions import containers
from plugin_remains import eventually
from workshop import Workshop

from dativo_ingest.sandbox.container.back_end import USER

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(params=["docker", "podman", "docker, gVisor"])
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ContainerEngine, Path]:
    """Give an engine, and a policy for it."""
    name, _, runtime = request.param.partition(", ")
    engine: ContainerEngine = request.getfixturevalue(name)
    sandbox = {"engine": engine.url, "image": engine.image, **({"runtime": "runsc", "min": "vm"} if runtime else {})}
    terms = {
        "sandbox": sandbox,
        "network": "any",
        "private": ["127.0.0.0/8"],
        "filesystem": {"read": "any", "write": "any"},
    }
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"version": 1, "tenants": {"default": terms}}))
    return engine, path


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Give a copy that the user of plugins may look into."""
    copy = tmp_path / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns("__pycache__", ".venv", "warehouse", ".dativo"))
    return copy


@pytest.fixture
def exports(examples: Path) -> Iterator[str]:
    """Serve the exports of the shop; give the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = partial(Quiet, directory=str(examples / "data" / "exports"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(config: Path, policy: Path, isolation: str, **environment: str) -> None:
    workshop = Workshop(config.parent, name=config.stem)
    shutil.copy(config, workshop.config)  # YAML is read whatever a file is called
    arguments = ("--policy", str(policy), "--mode", "cloud")

    ran = workshop.run(*arguments, env=environment)

    assert ran.code == 0, ran.said
    assert ran.report["isolation"] == isolation
    assert set(ran.report["plugins"][0]["controls"].values()) <= {
        "enforced",
        *(["absent"] if isolation == "vm" else []),
    }


def level(policy: Path) -> str:
    return "vm" if "runsc" in policy.read_text() else "container"


def test_a_reader_of_a_web_server_reaches_it_and_nothing_else(
    policy: tuple[ContainerEngine, Path], examples: Path, exports: str
) -> None:
    engine, path = policy
    arguments = {"EXPORTS_URL": exports}

    run(examples / "jobs" / "exports_to_parquet.yaml", path, level(path), **arguments)

    with closing(duckdb.connect()) as reader:
        pattern = str(examples / "warehouse" / "exports" / "**" / "*.parquet")
        (rows,) = reader.execute("SELECT count(*) FROM read_parquet(?)", [pattern]).fetchone() or (0,)
    assert rows == 5
    assert not eventually(lambda: containers(engine, examples))


def test_a_reader_that_writes_into_its_inbox_may(policy: tuple[ContainerEngine, Path], examples: Path) -> None:
    _, path = policy
    inbox = examples / "data" / "meters"
    for each in (inbox, *inbox.iterdir()):
        os.chown(each, USER, USER)

    run(examples / "jobs" / "meters_to_duckdb.yaml", path, level(path))

    with closing(duckdb.connect(str(examples / "warehouse" / "meters.duckdb"), read_only=True)) as reader:
        (rows,) = reader.execute("SELECT count(*) FROM power.readings").fetchone() or (0,)
    assert rows > 0
