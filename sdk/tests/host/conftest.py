"""Plugins in files, served in the test's own process."""

from __future__ import annotations

import logging
import socket
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from small_engine import Engine

from dativo_plugin_sdk.host.session import Session
from dativo_plugin_sdk.protocol.sockets import Control

Result = TypeVar("Result")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    """Give what writes a plugin's file."""

    def write(source: str, name: str = "a_plugin.py") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    return write


@pytest.fixture
def converse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Give what serves a plugin in this thread while an engine in another asks, and gives what the engine found."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)

    def run(talk: Callable[[Engine], Result], **limits: int) -> Result:
        control, engines_control = socket.socketpair()
        data, engines_data = socket.socketpair()
        found: list[Result] = []
        failed: list[BaseException] = []

        def ask() -> None:
            with engines_control, engines_data:
                engine = Engine(Control(engines_control), engines_control, engines_data)
                engine.welcome(**limits)
                try:
                    found.append(talk(engine))
                except BaseException as error:  # noqa: BLE001  it is raised in the main thread
                    failed.append(error)

        thread = threading.Thread(target=ask)
        with control, data:
            thread.start()
            Session(control, data, gone=lambda: None).serve()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    return run
