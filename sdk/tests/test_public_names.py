from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import dativo_plugin_sdk


def test_every_public_name_can_be_imported() -> None:
    missing = [name for name in dativo_plugin_sdk.__all__ if not hasattr(dativo_plugin_sdk, name)]

    assert missing == []


def test_type_checkers_and_the_interpreter_see_the_same_names() -> None:
    tree = ast.parse(Path(dativo_plugin_sdk.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dativo_plugin_sdk.")
        for alias in node.names
        if alias.asname  # an import that is no public name has no such name
    }

    assert seen | {"__version__"} == set(dativo_plugin_sdk.__all__)


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, dativo_plugin_sdk; sys.exit(bool({'pyarrow', 'pydantic'} & set(sys.modules)))"

    completed = subprocess.run([sys.executable, "-c", code], check=False)

    assert completed.returncode == 0
