"""Versions of plugins, from the command line to what is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Invoke

FIRST = """
from dativo_plugin_sdk import BaseReader

class Shop(BaseReader):
    __version__ = "1.0"

    def extract(self, state_manager=None):
        yield [{"id": 1}]
        state_manager.set("last", "1")
"""
SECOND = """
from dativo_plugin_sdk import BaseReader

class Shop(BaseReader):
    __version__ = "2.0"
    state_version = config_version = 2

    @classmethod
    def migrate_state(cls, state, from_version):
        return {"id": int(state["last"])}

    @classmethod
    def migrate_config(cls, config, from_version):
        return {**config, "options": {"step": int(config["options"]["by"])}}

    def extract(self, state_manager=None):
        id = state_manager.get("id") + self.source_config.options["step"]
        yield [{"id": id}]
        state_manager.set("id", id)
"""
COMPUTED = FIRST.replace('"1.0"', 'str(1 + 1) + ".1"') + "\n    def __init__(self, config): raise SystemExit('made')\n"


@pytest.fixture
def job(tmp_path: Path):
    """Write a job that reads with the plugin."""

    def write(plugin: str = FIRST, **source: Any) -> Path:
        (tmp_path / "shop.py").write_text(plugin, encoding="utf-8")
        document = {
            "version": 1,
            "name": "shop",
            "source": {"connector": "shop.py:Shop", "options": {"by": "10"}, **source},
            "target": {"connector": "parquet", "connection": {"path": "landed"}},
            "streams": {"orders": {"mode": "incremental"}},
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    return write


def test_an_older_release_s_job_and_state_are_taken_over_and_the_older_release_refuses_the_newer_state(
    job, invoke: Invoke
) -> None:
    first = invoke("run", "--config", job(FIRST))
    second = invoke("run", "--config", job(SECOND))
    state = json.loads(invoke("state", "get", "--config", job(SECOND)).stdout)["streams"]["orders"]["state"]
    back = invoke("run", "--config", job(FIRST))

    assert (first.exit_code, second.exit_code, back.exit_code) == (0, 0, 69), second.output
    assert state == {"id": 11, "_state_version": 2}
    said = " ".join(back.stderr.split())
    assert "the state of orders has version 2, shop.py:Shop 1.0 knows states up to version 1" in said
    assert "dativo state reset --stream orders" in said


def test_a_version_that_the_job_does_not_ask_for_is_refused_with_its_place(job, invoke: Invoke) -> None:
    refused = invoke("run", "--config", job(FIRST, version="~=1.5"))

    assert refused.exit_code == 69
    assert "job.yaml:" in refused.stderr
    assert "source.version asks for ~=1.5" in " ".join(refused.stderr.split())


def test_a_version_that_only_running_tells_is_refused_before_an_instance_is_made(job, invoke: Invoke) -> None:
    refused = invoke("run", "--config", job(COMPUTED, version="1.0"))

    assert refused.exit_code == 69
    assert "source.version asks for 1.0, shop.py:Shop is 2.1" in " ".join(refused.stderr.split())


def test_a_job_for_a_newer_configuration_is_refused(job, invoke: Invoke) -> None:
    refused = invoke("run", "--config", job(FIRST, config_version=2))

    assert refused.exit_code == 69
    said = " ".join(refused.stderr.split())
    assert "source.config_version is 2, shop.py:Shop 1.0 takes configuration up to version 1" in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"version": ">=99"}, "source.version asks for >=99, csv is"),
        ({"config_version": 2}, "source.config_version is 2, CsvReader"),
    ],
)
def test_a_built_in_connector_has_versions_too(job, invoke: Invoke, source: dict[str, Any], message: str) -> None:
    refused = invoke("run", "--config", job(connector="csv", options={}, connection={"path": "x.csv"}, **source))

    assert refused.exit_code == 69
    assert message in " ".join(refused.stderr.split())
