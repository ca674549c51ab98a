"""Hooks of pytest by which a suite's plugin may run elsewhere than in the tests' own process: the engine has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dativo_plugin_sdk.config import SourceConfig, TargetConfig
    from dativo_plugin_sdk.simple_writer import StateStore
    from dativo_plugin_sdk.streams import StreamReader
    from dativo_plugin_sdk.tables import StreamWriter


@pytest.hookspec(firstresult=True)
def pytest_dativo_reader(plugin: Any, config: SourceConfig) -> StreamReader | None:
    """Make the reader of a suite's plugin; None leaves it to the next one, at last to the tests' own process."""


@pytest.hookspec(firstresult=True)
def pytest_dativo_writer(
    plugin: Any, config: TargetConfig, states: StateStore, output_base: str
) -> StreamWriter | None:
    """Make the writer of a suite's plugin, likewise."""


@pytest.hookspec(firstresult=True)
def pytest_dativo_crash(end: Any) -> bool | None:
    """End a reader or writer that the hooks made as a killed process ends; None says that it is somebody else's."""


@pytest.hookspec(firstresult=True)
def pytest_dativo_peak_bytes(end: Any) -> int | None:
    """Say how much memory the process of a reader or writer that is closed has taken at most."""
