"""Every example plugin gives the same bytes without a sandbox, in a process and in a container."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
from c_programs import built
from confined import confined
from held_plugins import read_whole, write_whole
from pages import ROOT

from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.container.back_end import container
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk import SourceConfig, TargetConfig

EXAMPLES = ROOT / "examples"
PLUGINS = EXAMPLES / "plugins"
ROWS = [pa.record_batch({"id": [1, 2], "name": ["Åsa", None]}), pa.record_batch({"id": [3], "name": ["x" * 100_000]})]


@pytest.fixture(params=["process", "docker"])
def held(request: pytest.FixtureRequest) -> Confinement:
    if request.param == "process":
        return confined()
    engine = request.getfixturevalue("docker")
    return container(engine=engine.url, image=engine.image, runtime=None)


@contextmanager
def served_exports() -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(EXAMPLES / "data" / "exports"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], tuple[str, SourceConfig]]]:
    """Give an example reader, and what it reads."""
    with ExitStack() as stack:

        def of(name: str) -> tuple[str, SourceConfig]:
            match name:
                case "json_api_reader":
                    load = request.getfixturevalue("load")
                    shop = stack.enter_context(load("loopback_api").serve())
                    config = {"connection": {"base_url": shop.url}, "credentials": {"token": "demo-token"}}
                    plugin = f"{PLUGINS}/json_api_reader.py:JSONAPIReader"
                case "csv_exports":
                    config = {"connection": {"base_url": stack.enter_context(served_exports())}}
                    plugin = f"{PLUGINS}/csv_exports/csv_exports_reader.py:CSVExportsReader"
                case "meter_inbox":
                    inbox = shutil.copytree(EXAMPLES / "data" / "meters", tmp_path / "meters")
                    inbox.chmod(0o777)  # a container's user is another one
                    config = {"connection": {"path": str(inbox)}}
                    plugin = f"{PLUGINS}/meter_inbox/meter_inbox_reader.py:MeterInboxReader"
                case _:
                    folder = built(PLUGINS / "c_reader", tmp_path)
                    config = {"connection": {"path": str(folder / "data")}}
                    plugin = str(folder / "dativo-plugin.yaml")
            return plugin, SourceConfig(type=name, **config)

        yield of


@pytest.mark.parametrize("name", ["json_api_reader", "csv_exports", "meter_inbox", "c_reader"])
def test_a_reader_gives_the_same_bytes(
    name: str, source: Callable[[str], tuple[str, SourceConfig]], held: Confinement
) -> None:
    plugin, config = source(name)

    there = read_whole(plugin, config, held)

    assert there == read_whole(plugin, config, Unconfined())
    assert sum(map(len, there)) > 1000


def test_a_writer_leaves_the_same_files(tmp_path: Path, held: Confinement) -> None:
    found: list[dict[str, bytes]] = []
    for confinement in (held, Unconfined()):
        folder = tmp_path / confinement.isolation
        folder.mkdir()
        folder.chmod(0o777)  # a container's user is another one
        config = TargetConfig(type="json_file", connection={"path": str(folder)})
        found.append(write_whole(f"{PLUGINS}/json_file_writer.py:JSONFileWriter", config, folder, ROWS, confinement))

    there, here = found
    assert there == here
    assert sum(map(len, there.values())) > 100_000
