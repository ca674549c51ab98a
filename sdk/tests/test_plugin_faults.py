from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dativo_plugin_sdk import PluginExecutionError, PluginLoadError
from dativo_plugin_sdk.loading import class_from_path
from dativo_plugin_sdk.plugin_calls import call_plugin
from dativo_plugin_sdk.protocol.error_messages import error_to_json
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.testing import pytest_plugin
from dativo_plugin_sdk.testing.gaps import Verdict


def deeper(depth: int) -> None:
    if depth:
        deeper(depth - 1)
    raise ValueError("too deep")


def test_an_unforeseen_error_tells_each_line_of_the_plugin_that_it_came_through() -> None:
    with pytest.raises(PluginExecutionError) as caught:
        call_plugin("Shop.extract", deeper, 1)

    first = deeper.__code__.co_firstlineno
    assert caught.value.details["at"] == [f"{__file__}:{first + 2} in deeper", f"{__file__}:{first + 3} in deeper"]


def test_of_a_long_way_both_ends_are_told() -> None:
    with pytest.raises(PluginExecutionError) as caught:
        call_plugin("Shop.extract", deeper, 30)

    assert [place.rpartition(" in ")[2] for place in caught.value.details["at"]] == [
        *["deeper"] * 3,
        "…",
        *["deeper"] * 2,
    ]


def test_a_traceback_that_crosses_has_the_lines_of_the_plugin_and_none_of_the_sdk() -> None:
    with pytest.raises(PluginExecutionError) as caught:
        call_plugin("Shop.extract", deeper, 0)

    told = error_to_json(caught.value)["traceback"]

    assert "deeper(" in told or "in deeper" in told
    assert "plugin_calls.py" not in told


def test_a_suite_tells_the_lines_of_the_plugin_too() -> None:
    with pytest.raises(PluginExecutionError) as caught:
        call_plugin("Shop.extract", deeper, 0)

    told = pytest_plugin.message_of(Verdict("failed"), caught.value).splitlines()

    assert told[0] == "PluginExecutionError: Shop.extract failed: ValueError: too deep"
    assert told[1].startswith("  at ")
    assert told[1].endswith(" in deeper")


@pytest.mark.parametrize(
    ("source", "at", "hint"),
    [
        pytest.param("class R\n    pass\n", ":1", None, id="a syntax error"),
        pytest.param(
            "\nimport acme_no_such_module.parts\n", ":2 in <module>", "install acme_no_such_module", id="a module"
        ),
        pytest.param(
            "import os\nKEY = os.environ['ACME_KEY']\n", ":2 in <module>", "environment: [ACME_KEY]", id="a variable"
        ),
        pytest.param("{}['key']\n", ":1 in <module>", None, id="another key"),
    ],
)
def test_a_plugin_that_cannot_be_imported_says_where_and_the_way_out(
    source: str, at: str, hint: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "shop.py"
    file.write_text(source)

    with pytest.raises(PluginLoadError) as caught:
        class_from_path(f"{file}:R", BaseReader)

    assert caught.value.details["at"] == [f"{file}{at}"]
    assert (caught.value.hint is None) if hint is None else (hint in str(caught.value.hint))


def test_the_hint_for_a_module_names_the_python_that_lacks_it(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("import acme_no_such_module\n")

    with pytest.raises(PluginLoadError) as caught:
        class_from_path(f"{file}:R", BaseReader)

    assert sys.executable in str(caught.value.hint)
    assert os.sep in sys.executable
