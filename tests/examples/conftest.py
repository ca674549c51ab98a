from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load_example(name: str) -> ModuleType:
    """Import one file of examples/plugins under a name of its own."""
    module_name = f"example_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, EXAMPLES / "plugins" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    return sys.modules[module_name]


@pytest.fixture
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def load() -> Callable[[str], ModuleType]:
    return load_example


@pytest.fixture
def api() -> Iterator[Any]:
    """The loopback shop, serving."""
    with load_example("loopback_api").serve() as shop:
        yield shop
