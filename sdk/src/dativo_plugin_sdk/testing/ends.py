"""Readers and writers of a suite's plugin: in the tests' own process, or where a hook makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import AuthenticationError, DativoError, get_error_code
from dativo_plugin_sdk.migrating_reader import MigratingReader
from dativo_plugin_sdk.reader import NOT_IMPLEMENTED, BaseReader
from dativo_plugin_sdk.results import Check, ConnectionTestResult
from dativo_plugin_sdk.simple_reader import SimpleReader
from dativo_plugin_sdk.simple_writer import SimpleWriter
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter
from dativo_plugin_sdk.writer import BaseWriter

Plugin: TypeAlias = type[BaseReader] | type[StreamReader] | type[BaseWriter] | type[StreamWriter] | str
"""A class, or a name that the engine understands where the suite runs through it."""


class MemoryStates:
    """Keeps the states of simple writers, as the engine does beside a job."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[int, str]] = {}

    def load(self, key: str) -> str | None:
        """Give the text saved last."""
        return self._texts[key][1] if key in self._texts else None

    def save(self, key: str, expected_generation: int, text: str) -> bool:
        """Replace the text if so many saves happened before."""
        saves = self._texts[key][0] if key in self._texts else 0
        if saves != expected_generation:
            return False
        self._texts[key] = (saves + 1, text)
        return True


@contextmanager
def opened_reader(plugin: Plugin, config: SourceConfig, hook: Any) -> Iterator[StreamReader]:
    """Make the reader, and close it afterwards."""
    reader = hook.pytest_dativo_reader(plugin=plugin, config=config) or _reader_here(plugin, config)
    try:
        yield reader
    finally:
        reader.close()


def made_writer(
    plugin: Plugin, config: TargetConfig, states: MemoryStates, output_base: str, hook: Any
) -> StreamWriter:
    """Make the writer; whoever asks for it closes it."""
    made = hook.pytest_dativo_writer(plugin=plugin, config=config, states=states, output_base=output_base)
    writer: StreamWriter = made or writer_here(plugin, config, states, output_base)
    return writer


def _reader_here(plugin: Plugin, config: SourceConfig) -> StreamReader:
    if isinstance(plugin, type) and issubclass(plugin, StreamReader):
        return MigratingReader(plugin(config), plugin)
    if isinstance(plugin, type) and issubclass(plugin, BaseReader):
        return MigratingReader(SimpleReader(plugin, config), plugin)
    raise TypeError(f"plugin = {plugin!r} is no class of a reader; names are for the engine: dativo plugin test")


def writer_here(plugin: Plugin, config: TargetConfig, states: MemoryStates, output_base: str) -> StreamWriter:
    """Make the writer in this process."""
    if isinstance(plugin, type) and issubclass(plugin, StreamWriter):
        return plugin(config)
    if isinstance(plugin, type) and issubclass(plugin, BaseWriter):
        return SimpleWriter(plugin, config, states=states, output_base=output_base)
    raise TypeError(f"plugin = {plugin!r} is no class of a writer; names are for the engine: dativo plugin test")


def walk(checks: Sequence[Check]) -> ConnectionTestResult:
    """Take the steps of a check up to the first that fails, whose error becomes the result.

    A success has the results of all steps as its details, by their names.
    """
    results: dict[str, Any] = {}
    for step in checks:
        try:
            found = step.run()
        except DativoError as error:
            return failure(error)
        if not found.success:
            return found
        results[step.step] = found.to_dict()
    return ConnectionTestResult(success=True, message=f"{len(results)} step(s)", details=results)


def failure(error: DativoError) -> ConnectionTestResult:
    """Give an error the form of a check's result."""
    return ConnectionTestResult(
        success=False, message=error.message, error_code=get_error_code(error), details=dict(error.details)
    )


def is_not_implemented(details: Any) -> bool:
    """Say whether a result is the default that stands for nobody's work."""
    return isinstance(details, dict) and NOT_IMPLEMENTED.items() <= details.items()


CREDENTIALS_REFUSED = frozenset(
    {"PERMISSION_ERROR", AuthenticationError.default_error_code}
    | {each.default_error_code for each in AuthenticationError.__subclasses__()}
)
"""Codes that say: you may not."""
NOT_REACHED = frozenset(
    {
        *("CONNECTION_ERROR", "CONNECTION_FAILED", "NETWORK_ERROR", "TIMEOUT_ERROR", "SERVICE_UNAVAILABLE"),
        *("RESOURCE_NOT_FOUND", "RESOURCE_UNAVAILABLE", "DATA_NOT_FOUND"),
    }
)
"""Codes that say: nobody is there."""


def expect_failure(result: ConnectionTestResult, codes: frozenset[str], what: str, example: str) -> None:
    """See that a check failed, and for the reason that it should."""
    assert not result.success, f"check succeeded with {what}"
    assert result.error_code in codes, (
        f"check failed with {result.error_code} for {what}: {result.message}; "
        f"raise {example}, or give error_code one of {', '.join(sorted(codes))}"
    )
