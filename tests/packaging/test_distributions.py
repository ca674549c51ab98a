"""Both distributions, built as they are released, in environments that have nothing else of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bubblewrap

ROOT = Path(__file__).parents[2]
UV = ROOT / ".tools" / "bin" / "uv"
OTHER_SDK = "0.1.99"
"""What the plugin's own environment has, and the engine's has not."""

PLUGIN_PROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "acme-shop"
version = "1.4.0"
requires-python = ">=3.11"
dependencies = ["dativo-plugin-sdk>=0.1,<0.2"]

[project.entry-points."dativo.readers"]
acme_shop = "acme_shop:ShopReader"
"""
PLUGIN = """
from importlib.metadata import version
from dativo_plugin_sdk import BaseReader

class ShopReader(BaseReader):
    def extract(self, state_manager=None):
        yield [{"id": 1, "sdk": version("dativo-plugin-sdk")}]
"""
MANIFEST = """
api: 1
name: acme-shop
version: 1.4.0
entrypoint: {reader: "acme_shop:ShopReader"}
"""
FILE_PLUGIN = """
from acme_shop import ShopReader

class CornerShop(ShopReader):
    __version__ = "2.0.0"
    requires_sdk = "==0.1.99"
"""
JOB = """
version: 1
name: {name}
source: {{connector: {connector}, version: "{version}"}}
target: {{connector: parquet, connection: {{path: ./landed/{name}}}}}
streams: {{orders: {{}}}}
"""


def uv(*arguments: object) -> None:
    """Run uv, which must not look for other Pythons than the one that runs the tests."""
    environ = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        [UV, "--quiet", *map(str, arguments)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def built(project: Path, folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist."""
    uv("build", project, "--out-dir", folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def environment(folder: Path, *wheels: Path) -> Path:
    """Make an environment with these wheels and what they need, and give its interpreter."""
    uv("venv", folder, "--python", sys.executable)
    python = folder / "bin" / "python"
    uv("pip", "install", "--python", python, "--constraints", ROOT / "constraints.txt", *wheels)
    return python


def run(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command far from this repository's own environment."""
    environ = {
        "PATH": f"{bubblewrap.programs()}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    return subprocess.run(list(map(str, command)), cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_the_sdk_installs_and_serves_where_nothing_else_of_ours_is(tmp_path: Path) -> None:
    sdist, wheel = built(ROOT / "sdk", tmp_path / "dist")

    python = environment(tmp_path / "env", wheel)

    with tarfile.open(sdist) as packing:
        packed = {name.partition("/")[2] for name in packing.getnames()}
    assert packed >= {"pyproject.toml", "README.md", "LICENSE", "src/dativo_plugin_sdk/py.typed"}
    assert not any(name.startswith(("tests", "api")) for name in packed)
    sources = {
        path.relative_to(ROOT / "sdk" / "src").as_posix()
        for path in (ROOT / "sdk" / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as files:
        assert set(files.namelist()) >= sources
    script = """
        import dativo_plugin_sdk, importlib, importlib.util, pkgutil
        assert importlib.util.find_spec("dativo_ingest") is None
        for name in dativo_plugin_sdk.__all__:
            getattr(dativo_plugin_sdk, name)
        for module in pkgutil.walk_packages(dativo_plugin_sdk.__path__, "dativo_plugin_sdk."):
            if not module.name.endswith("__main__") and ".testing" not in module.name:
                importlib.import_module(module.name)
        print(dativo_plugin_sdk.__version__)
    """
    imported = run(python, "-I", "-W", "error", "-c", textwrap.dedent(script), folder=tmp_path)
    assert (imported.returncode, imported.stderr) == (0, "")
    assert wheel.name.startswith(f"dativo_plugin_sdk-{imported.stdout.strip()}-")
    served = run(python, "-m", "dativo_plugin_sdk.host", folder=tmp_path)
    assert (served.returncode, served.stdout) == (64, "")
    assert "the engine starts this module" in served.stderr


def test_the_engine_runs_a_plugin_that_has_another_environment_and_another_sdk(tmp_path: Path) -> None:
    other = shutil.copytree(ROOT / "sdk", tmp_path / "other_sdk", ignore=shutil.ignore_patterns("tests", "api"))
    for path in (other / "pyproject.toml", other / "src" / "dativo_plugin_sdk" / "__init__.py"):
        path.write_text(path.read_text(encoding="utf-8").replace('"0.1.0"', f'"{OTHER_SDK}"'), encoding="utf-8")
    shop = tmp_path / "acme_shop"
    for name, text in {
        "pyproject.toml": PLUGIN_PROJECT,
        "acme_shop/__init__.py": PLUGIN,
        "acme_shop/dativo-plugin.yaml": MANIFEST,
    }.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_text(text, encoding="utf-8")
    with ThreadPoolExecutor() as pool:
        folders = {ROOT / "sdk": "sdk", ROOT: "engine", other: "other_sdk", shop: "shop"}
        wheels = pool.map(lambda item: built(item[0], tmp_path / "dist" / item[1])[1], folders.items())
        sdk, engine, other_sdk, plugin = wheels
    home = tmp_path / "home"
    plugins = home / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "shop.py").write_text(FILE_PLUGIN, encoding="utf-8")
    (plugins / "dativo-plugin.yaml").write_text(MANIFEST, encoding="utf-8")
    python = environment(tmp_path / "engine", engine, sdk)
    environment(plugins / ".venv", other_sdk, plugin)

    by_file = run_job(python, home, "file", "plugins/shop.py:CornerShop", "~=2.0")
    by_manifest = run_job(python, home, "manifest", "plugins/dativo-plugin.yaml", "1.4.0")
    uv("pip", "install", "--python", python, plugin)
    installed = run_job(python, home, "installed", "acme_shop", ">=1.4")

    own = sdk.name.split("-")[1]
    assert by_file == {"version": "2.0.0", "sdk": OTHER_SDK, "rows": [{"id": 1, "sdk": OTHER_SDK}]}
    assert by_manifest == {"version": "1.4.0", "sdk": OTHER_SDK, "rows": [{"id": 1, "sdk": OTHER_SDK}]}
    assert installed == {"version": "1.4.0", "sdk": own, "rows": [{"id": 1, "sdk": own}]}


def run_job(python: Path, home: Path, name: str, connector: str, version: str) -> dict[str, object]:
    """Run a job with a plugin; give the plugin's version, its process's SDK and what landed."""
    (home / f"{name}.yaml").write_text(JOB.format(name=name, connector=connector, version=version), encoding="utf-8")
    done = run(
        python.parent / "dativo", "run", "--config", f"{name}.yaml", "--report", "-", "--progress", "none", folder=home
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (plugin,) = json.loads(done.stdout)["plugins"]
    read = "import json, pyarrow.dataset as d; print(json.dumps(d.dataset('landed/{}/orders').to_table().to_pylist()))"
    rows = run(python, "-c", read.format(name), folder=home)
    assert rows.returncode == 0, rows.stderr
    return {"version": plugin["version"], "sdk": plugin["sdk"], "rows": json.loads(rows.stdout)}
