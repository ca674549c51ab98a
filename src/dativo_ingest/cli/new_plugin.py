"""The project that ``dativo plugin new`` writes: a plugin that passes its tests, to be changed into another."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal, TypeAlias

import dativo_plugin_sdk
from dativo_ingest.cli.scaffold import Files
from dativo_ingest.registry.connectors import known
from dativo_plugin_sdk.errors import InvalidConfigError

Kind: TypeAlias = Literal["reader", "writer"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40
_TEMPLATES = files("dativo_ingest.cli") / "plugin_project"


def check_name(name: str, kind: Kind) -> None:
    """Refuse a name that is none, or that something else has.

    Raises:
        ValueError: Saying what a name is like.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError(f"{name!r} is no plugin name: small letters and digits, words joined by -, such as my-shop")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module.startswith("dativo"):
        raise ValueError(f"{name!r} is a name of Python's or Dativo's own; add a word, such as {name}-{kind}")
    if name in known(kind):
        raise ValueError(f"there is a {kind} {name!r} already; add a word, such as my-{name}")


def new_plugin(name: str, kind: Kind, folder: Path) -> Files:
    """Give the files of a new plugin's project.

    Args:
        name: What `check_name` has accepted.
        kind: What it shall be.
        folder: Where it goes, which must not be there yet.

    Raises:
        InvalidConfigError: The folder is there.
    """
    if folder.exists():
        raise InvalidConfigError(f"{folder} is there already", hint="say another NAME, or another --dir")
    module = name.replace("-", "_")
    values = {
        "name": name,
        "kind": kind,
        "end": "source" if kind == "reader" else "target",
        "module": module,
        "title": name.replace("-", " "),
        "class_name": _class_name(name, kind),
        "sdk": _sdk_range(),
    }
    texts = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "readme.txt",
        ".gitignore": "gitignore.txt",
        f"src/{module}/__init__.py": "init.txt",
        f"src/{module}/{kind}.py": f"{kind}.txt",
        f"src/{module}/dativo-plugin.yaml": f"{kind}_manifest.txt",
        f"tests/test_{module}.py": f"test_{kind}.txt",
    }
    return Files(
        folder,
        {
            path: Template((_TEMPLATES / file).read_text(encoding="utf-8")).substitute(values)
            for path, file in texts.items()
        },
    )


def _class_name(name: str, kind: Kind) -> str:
    words = name.removesuffix(f"-{kind}").split("-")
    return "".join(word.capitalize() for word in words) + kind.capitalize()


def _sdk_range() -> str:
    """Give this SDK's releases up to the next that may break: the minor one, before 1.0."""
    major, minor, *_ = dativo_plugin_sdk.__version__.split(".")
    return f"{major}.{minor},<{int(major) + 1}"
