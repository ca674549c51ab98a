"""The plugin for pytest: it judges gaps, and tells of checks on the terminal and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dativo_plugin_sdk.errors import DativoError
from dativo_plugin_sdk.testing import gaps

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

VERDICT: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""What became of a check, once it has been made."""
_PROPERTY = "dativo.check"
_ORDER = "order"

pytest.register_assert_rewrite(
    "dativo_plugin_sdk.testing.reader_suite",
    "dativo_plugin_sdk.testing.writer_suite",
    "dativo_plugin_sdk.testing.spec_rules",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let others make readers and writers."""
    from dativo_plugin_sdk.testing import hooks  # noqa: PLC0415  only here are they needed

    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes what was found."""
    group = parser.getgroup("dativo", "conformance of Dativo plugins")
    group.addoption("--dativo-json", metavar="PATH", help="write what became of each check of a suite as JSON")
    group.addoption("--dativo-only", action="store_true", help="run the checks of suites, and no other test")
    group.addoption("--dativo-check", action="append", metavar="NAME", help="of the checks run this one, or several")


def pytest_configure(config: pytest.Config) -> None:
    """Collect in the process that talks to the terminal."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config.getoption("--dativo-json")), "dativo-collector")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is no check, where that is asked for."""
    wanted = config.getoption("--dativo-check")
    if not wanted and not config.getoption("--dativo-only"):
        return
    names = {item: _name_of(item) for item in items}
    others = {
        item
        for item, name in names.items()
        if name is None or (wanted and not {name, name.partition("[")[0]} & set(wanted))
    }
    config.hook.pytest_deselected(items=list(others))
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the end of a check: a true gap is an expected failure, any other gap a failure."""
    report = yield
    name = _name_of(item)
    if name is None or call.when == "teardown" or (call.when == "setup" and report.passed):
        return report
    raised = None if call.excinfo is None else call.excinfo.value
    suite = item.cls  # type: ignore[attr-defined]  # a method of a suite
    gap = gaps.declared(suite.gaps, name)
    verdict = gaps.judge(name, raised, gap) if call.when == "call" else gaps.Verdict("failed")
    if verdict.outcome == "gap":
        report.outcome = "skipped"
        report.wasxfail = f"{verdict.kind}: {verdict.reason}"
    elif verdict.outcome == "failed":
        report.outcome = "failed"
        if verdict.reason is not None:
            report.longrepr = f"{name}: {verdict.reason}"
    found = {
        "suite": suite.__name__,
        "connector": suite.connector or getattr(suite.plugin, "__name__", str(suite.plugin)),
        "kind": suite.kind,
        "version": suite.version or str(getattr(suite.plugin, "__version__", "")),
        "check": name,
        "title": _title(item),
        "outcome": verdict.outcome,
        "gap": verdict.kind,
        "reason": verdict.reason,
        "message": message_of(verdict, raised) if verdict.outcome == "failed" else None,
        "duration_s": round(call.duration, 3),
    }
    item.stash[VERDICT] = found
    found = {**found, _ORDER: item.function.__code__.co_firstlineno}  # type: ignore[attr-defined]  # a function's item
    report.user_properties.append((_PROPERTY, found))
    return report


def _name_of(item: pytest.Item) -> str | None:
    """Give the check that a test makes, with its parameter; None for any other test."""
    name = gaps.check_name(getattr(item, "function", None))
    callspec = getattr(item, "callspec", None)
    return f"{name}[{callspec.id}]" if name and callspec else name


def _title(item: pytest.Item) -> str:
    return (item.function.__doc__ or "").strip().rstrip(".")  # type: ignore[attr-defined]  # a function's item


def message_of(verdict: gaps.Verdict, raised: BaseException | None) -> str:
    """Say why a check did not pass: of what a plugin raised, the lines of its own code too."""
    if verdict.reason is not None or raised is None:
        return verdict.reason or ""
    text = str(raised).partition("\nassert ")[0]  # what pytest adds repeats the values
    if isinstance(raised, AssertionError):
        return text
    at = raised.details.get("at") if isinstance(raised, DativoError) else None
    places = [f"\n  at {place}" for place in at] if isinstance(at, list) else []
    return "".join([f"{type(raised).__name__}: {text}", *places])


class _Collector:
    """Keeps what the reports carry, also those of other processes (pytest-xdist)."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a report carries."""
        self._found += [dict(value) for name, value in report.user_properties if name == _PROPERTY]  # type: ignore[call-overload]  # ours is a dict

    def pytest_sessionfinish(self) -> None:
        """Write what was found."""
        if self._path is not None:
            order = itemgetter("kind", "connector", "suite", _ORDER)
            found = [
                {key: value for key, value in each.items() if key != _ORDER}
                for each in sorted(self._found, key=lambda each: (order(each), each["check"]))
            ]
            Path(self._path).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say in a line of each plugin how it did."""
        connectors = dict.fromkeys((each["kind"], each["connector"]) for each in self._found)
        if connectors:
            terminalreporter.section("conformance")
        for kind, connector in connectors:
            of_it = [each for each in self._found if (each["kind"], each["connector"]) == (kind, connector)]
            counts = Counter(each["outcome"] for each in of_it)
            told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "gap", "failed"))
            terminalreporter.line(f"{kind} {connector}: {told}")
