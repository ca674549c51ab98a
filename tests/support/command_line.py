"""The command line as tests use it, and the plugins of its jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result
from jsonschema import Draft202012Validator

PLUGINS = Path(__file__).parent / "plugins" / "cli_plugins.py"
"""A file with the classes Reader, Silent and Writer."""

WriteJob = Callable[..., Path]
Invoke = Callable[..., Result]


def validate(document: Any, schema: dict[str, Any]) -> None:
    """Fail where a document is not as its schema says, formats of times and UUIDs included."""
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(document)
