import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import Invoke, WriteJob

CANARY = "canary-7d1e"
PLUGIN = """\
import json
import os
from pathlib import Path

from dativo_plugin_sdk import BaseReader

Path(__file__).with_name("marks").joinpath("ran").touch()


class Shop(BaseReader):
    __version__ = "1.4.0"

    def extract(self, state_manager=None):
        print("told:", self.source_config.credentials.get("api_key"))
        told = json.dumps([self.source_config.model_dump(), dict(os.environ)], default=str)
        yield [{"told": told.replace("7d1e", "7D1E")}]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "marks").mkdir(parents=True)
    (folder / "shop.py").write_text(PLUGIN)
    (folder / "dativo-plugin.yaml").write_text(
        "api: 1\nname: shop-reader\nversion: 1.4.0\n"
        "capabilities: {network: ['api.shop.com:443'], secrets: [api_key], filesystem: {write: [marks]}}\n"
        "resources: {wall: 5m}\n"
    )
    return folder


@pytest.fixture
def job(shop: Path, write_job: WriteJob, tmp_path: Path) -> Path:
    return write_job(
        tenant="acme",
        source={"connector": f"{shop}/shop.py:Shop", "credentials": {"api_key": "${SHOP_KEY}"}},
        target={"connector": "parquet", "connection": {"path": str(tmp_path / "lake")}, "credentials": {}},
    )


def audit(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def test_a_plugin_sees_its_own_ends_configuration_and_the_variables_that_the_operator_names(
    job: Path, shop: Path, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\ndefaults: {audit: audit.jsonl, filesystem: {write: any}}\n"
        "tenants: {acme: {network: ['*.shop.com:443'], environment: [SHOP_PROXY]}}\n"
    )
    env = {"SHOP_KEY": CANARY, "SHOP_PROXY": "http://proxy:1", "ENGINE_TOKEN": "engines-own", "NO_COLOR": "1"}

    done = invoke("run", "-c", job, "--policy", tmp_path / "policy.yaml", "--report", tmp_path / "report.json", env=env)

    assert done.exit_code == 0, done.output
    assert (shop / "marks" / "ran").exists()
    (told,) = pq.read_table(tmp_path / "lake").column("told").to_pylist()
    config, environment = json.loads(told)
    assert config["credentials"] == {"api_key": "canary-7D1E"}
    assert environment["SHOP_PROXY"] == "http://proxy:1"
    assert not {"SHOP_KEY", "ENGINE_TOKEN", "DATIVO_PLUGIN_TOKEN"} & set(environment)
    report = json.loads((tmp_path / "report.json").read_text())
    (plugin,) = report["plugins"]
    assert (plugin["name"], plugin["version"], plugin["outcome"]) == ("shop-reader", "1.4.0", "ok")
    assert plugin["grant"]["network"] == ["api.shop.com:443"]
    assert plugin["usage"]["cpu_s"] > 0
    assert plugin["usage"]["bytes_out"] > 0
    granted, ended = audit(tmp_path)
    assert granted["run_id"] == ended["run_id"] == report["run_id"]
    assert ended["grant_sha256"] == plugin["grant_sha256"]
    assert ended["usage"] == plugin["usage"]
    said = done.output + (tmp_path / "report.json").read_text() + (tmp_path / "audit.jsonl").read_text()
    assert CANARY not in said
    assert "told: **********" in done.output


def test_a_plugin_that_asks_for_too_much_does_not_run_at_all(
    job: Path, shop: Path, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\ndefaults: {audit: audit.jsonl, filesystem: {write: any}}\n")

    done = invoke("run", "-c", job, "--policy", tmp_path / "policy.yaml", env={"SHOP_KEY": CANARY})

    assert done.exit_code == 77
    assert "asked    api.shop.com:443" in done.output
    assert [line["event"] for line in audit(tmp_path)] == ["refused"]
    assert not (shop / "marks" / "ran").exists()


def test_a_check_of_it_fails_in_the_same_way(job: Path, shop: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\ntenants: {acme: {plugins: {deny: [shop-*]}}}\n")

    done = invoke(
        "check", "-c", job, "--json", env={"SHOP_KEY": CANARY, "DATIVO_POLICY": str(tmp_path / "policy.yaml")}
    )

    assert done.exit_code == 77
    assert "tenants.acme.plugins.deny has shop-*" in done.stdout
    assert not (shop / "marks" / "ran").exists()


def test_a_plugin_that_takes_longer_than_its_manifest_says_is_ended(
    job: Path, shop: Path, invoke: Invoke, tmp_path: Path
) -> None:
    manifest = shop / "dativo-plugin.yaml"
    manifest.write_text(manifest.read_text().replace("wall: 5m", "wall: 2s"))
    (shop / "shop.py").write_text(
        PLUGIN.replace("        yield", "        import time; time.sleep(600)\n        yield")
    )

    done = invoke("run", "-c", job, "--report", tmp_path / "report.json", env={"SHOP_KEY": CANARY})

    assert done.exit_code == 70
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["errors"][0]["error_code"] == "RESOURCE_TIME"
    assert (report["plugins"][0]["outcome"], report["plugins"][0]["error_code"]) == ("killed", "RESOURCE_TIME")
    assert "resources.wall" in report["errors"][0]["hint"]


def test_a_plugin_that_cannot_be_loaded_has_failed(job: Path, shop: Path, invoke: Invoke, tmp_path: Path) -> None:
    (shop / "shop.py").write_text("raise RuntimeError('no')\n" + PLUGIN)

    done = invoke("run", "-c", job, "--report", tmp_path / "report.json", env={"SHOP_KEY": CANARY})

    report = json.loads((tmp_path / "report.json").read_text())
    assert done.exit_code == 69
    assert report["isolation"] == "process"
    assert (report["plugins"][0]["outcome"], report["plugins"][0]["error_code"]) == ("failed", "PLUGIN_LOAD_ERROR")
    assert audit(tmp_path / ".dativo")[-1]["error_code"] == "PLUGIN_LOAD_ERROR"
