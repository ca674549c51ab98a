"""Public names of a package that cost nothing until they are used: each is imported from its module on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: dict[str, Any], home: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: Its ``globals()``, with ``__all__`` set; what is looked up once is kept there.
        home: The module below the package, or anywhere where it has dots, that holds a name.
    """
    own = package["__name__"]

    def look_up(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {own!r} has no attribute {name!r}")
        module = home[name] if "." in home[name] else f"{own}.{home[name]}"
        package[name] = getattr(importlib.import_module(module), name)
        return package[name]

    return look_up, lambda: list(package["__all__"])
