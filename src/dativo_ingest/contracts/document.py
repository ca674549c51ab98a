"""A contract's file as plain data, and the errors that say where in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dativo_ingest.job.files import read_file
from dativo_ingest.job.problems import Loc, Problem, error_of
from dativo_ingest.job.yaml_nodes import Document, read_document
from dativo_plugin_sdk import SchemaValidationError


@dataclass(frozen=True)
class ContractDocument:
    """A contract as it is written.

    Attributes:
        path: The file.
        data: Dicts with text keys, lists, and scalars; dates are text.
    """

    path: Path
    data: dict[str, Any]
    _document: Document = field(repr=False, compare=False)

    def problem(self, loc: Loc, message: str, *, of_key: bool = False, hint: str | None = None) -> Problem:
        """Say what is wrong with a value, or with its key; where it is missing, the place is what would be around."""
        position = self._document.position(loc) if of_key else self._document.value_position(loc)
        return Problem(loc, message, position, hint, SchemaValidationError)

    def error(self, loc: Loc, message: str, *, hint: str | None = None) -> Exception:
        """Make the error of the one thing that is wrong."""
        return self.error_of([self.problem(loc, message, hint=hint)])

    def error_of(self, problems: list[Problem]) -> Exception:
        """Make one error of everything that is wrong."""
        return error_of(problems, str(self.path))


def read_contract(path: Path) -> ContractDocument:
    """Read a contract's file as YAML.

    Raises:
        MissingConfigError: There is no such file.
        InsufficientPermissionsError: It may not be read.
        InvalidConfigError: It is no file that can be read.
        SchemaValidationError: It is no YAML of keys and values, or has a key twice.
    """
    raw = read_file(path, what="contract", hint_if_missing="relative paths start at the job file's folder")
    hint = "a contract has at least apiVersion, kind, id, version and schema"
    document = read_document(raw, str(path), hint_if_empty=hint, error_class=SchemaValidationError)
    return ContractDocument(path, document.data, document)
