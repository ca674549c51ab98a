"""A real process: its hello, its end, its standard streams and its forks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from small_engine import made, reader, running

import dativo_plugin_sdk
from dativo_plugin_sdk.errors import PluginLoadError
from dativo_plugin_sdk.streams import Rows, StateChanged, StreamSpec

WritePlugin = Callable[[str], Path]

NOISY = """
    import atexit
    import logging
    import multiprocessing
    import os
    import subprocess
    import sys
    import warnings
    from dativo_ingest.plugins import BaseReader

    print("imported", "DATIVO_PLUGIN_TOKEN" in os.environ, "DATIVO_PLUGIN_IO" in os.environ)
    atexit.register(print, "atexit")

    class Noisy(BaseReader):
        def extract(self, state_manager=None):
            print("\\x10\\0\\0\\0{}")
            sys.stdout.write("no line end")
            os.write(1, b"raw")
            logging.getLogger("shop").info("reading %s", "page")
            logging.getLogger("shop").debug("not told")
            warnings.warn("old")
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("x" * 20_000)
            logging.error("%d", "no number")
            yield [{"id": 1}]
            state_manager.set("at", 1)
            child = os.fork()
            if child == 0:
                logging.warning("from the child")
                yield [{"id": "the child's"}]
            os.waitpid(child, 0)
            worker = multiprocessing.get_context("fork").Process(target=logging.warning, args=("from the worker",))
            worker.start()
            worker.join()
            code = "import os; os.write(1, b'sub' + str(os.listdir('/proc/self/fd')).encode())"
            subprocess.run([sys.executable, "-I", "-S", "-c", code])
            sys.stdout.close()
            os.close(0)
            yield [{"id": 2}]
"""


def test_a_noisy_plugin_disturbs_nothing(plugin: WritePlugin, tmp_path: Path) -> None:
    path = plugin(NOISY)
    with running(tmp_path / "io") as process:
        engine = process.engine
        made(engine, path, "Noisy")

        found = engine.read(StreamSpec("a"))
        engine.ask("shutdown")
        code, stdout, stderr = process.ended()

    assert found == [
        Rows(pa.record_batch({"id": [1]})),
        StateChanged({"at": 1}),
        Rows(pa.record_batch({"id": [2]})),
    ]
    assert code == 0
    assert process.hello == {
        "type": "hello",
        "protocol": [1],
        "sdk": dativo_plugin_sdk.__version__,
        "language": f"python {'.'.join(map(str, sys.version_info[:3]))}",
        "pid": process.popen.pid,
        "token": "f" * 32,
        "plugin": None,
    }
    assert stdout.startswith(b"imported False False\n\x10\0\0\0{}\n")
    assert b"raw" in stdout
    assert b"sub['0', '1', '2', '3']" in stdout
    levels = [(level, name) for level, name, _ in engine.logs()]
    assert levels == [("info", "shop"), ("warning", "py.warnings"), ("error", "root"), ("error", "root")]
    said = [text for _, _, text in engine.logs()]
    assert said[0] == "reading page"
    assert "UserWarning: old" in said[1]
    assert len(said[2]) == 8192
    assert said[3] == "%d"
    assert b"from the child" in stderr
    assert b"from the worker" in stderr


def test_the_end_of_the_engine_ends_a_busy_process(plugin: WritePlugin, tmp_path: Path) -> None:
    path = plugin("import time; time.sleep(600)")
    with running(tmp_path / "io") as process:
        process.engine.start("spec", **reader(path, "A"))

        process.engine.control_socket.close()
        code, _, stderr = process.ended()

    assert (code, stderr) == (75, b"")


def test_a_crash_leaves_its_place_on_stderr(plugin: WritePlugin, tmp_path: Path) -> None:
    path = plugin("import os, signal\n\ndef falls():\n    os.kill(os.getpid(), signal.SIGSEGV)\n\nfalls()")
    with running(tmp_path / "io") as process:
        process.engine.start("spec", **reader(path, "A"))

        with pytest.raises(EOFError):
            process.engine.answer()
        code, _, stderr = process.ended()

    assert code == -11
    assert b"in falls" in stderr


def test_a_plugin_that_cannot_be_imported_leaves_a_process_that_ends_well(plugin: WritePlugin, tmp_path: Path) -> None:
    path = plugin("raise SystemExit(3)")
    with running(tmp_path / "io") as process:
        with pytest.raises(PluginLoadError, match="SystemExit: 3"):
            process.engine.ask("spec", **reader(path, "A"))

        process.engine.ask("shutdown")
        code, _, stderr = process.ended()

    assert (code, stderr) == (0, b"")


def test_started_by_hand_it_says_who_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dativo_plugin_sdk.host"], capture_output=True, text=True, env={}, check=False
    )

    assert done.returncode == 64
    assert done.stderr.startswith("the engine starts this module")


def test_nothing_large_is_loaded_before_the_hello() -> None:
    code = (
        "import sys, dativo_plugin_sdk.host.__main__\n"
        "print({'pyarrow', 'pydantic', 'logging', 'threading', 'typing', 'dataclasses', 'pathlib'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pyarrow" not in done.stdout
    assert "pydantic" not in done.stdout
