"""A YAML file of ours as a frozen model that still knows where each key stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import PrivateAttr

from dativo_ingest.job.job_model import JobModel
from dativo_ingest.job.problems import Loc, Problem, error_of
from dativo_ingest.job.yaml_nodes import Document, read_document
from dativo_plugin_sdk.config import parse
from dativo_plugin_sdk.errors import InvalidConfigError


class WrittenModel(JobModel):
    """The base of models that `read_written` makes."""

    _document: Document | None = PrivateAttr(default=None)
    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The file."""
        if self._path is None:
            raise AttributeError(f"this {type(self).__name__} was not read from a file")
        return self._path

    def read_from(self, document: Document, path: Path) -> Self:
        """Keep what it was made of, which `locate` looks at."""
        self._document, self._path = document, path
        return self

    def locate(self, loc: Loc) -> str:
        """Give ``FILE:6:3`` for a key, or for the nearest one above it that the file has; ``""`` without a file."""
        if self._document is None:
            return ""
        position = self._document.position(loc)
        return f"{self._document.name}:{position.line}:{position.column}"


Model = TypeVar("Model", bound=WrittenModel)


def read_written(model: type[Model], raw: bytes, path: Path, *, hint_if_empty: str) -> Model:
    """Parse a YAML file.

    Args:
        model: What it must be.
        raw: The file's bytes.
        path: The file, for messages.
        hint_if_empty: What to write into it.

    Raises:
        InvalidConfigError: Something is wrong with it. The message has a line for each problem, with file, line and
            column.
    """
    document = read_document(raw, str(path), hint_if_empty=hint_if_empty)
    try:
        made = parse(model, document.data, where="")
    except InvalidConfigError as error:
        places = ((tuple(item["loc"]), item["message"]) for item in error.details["problems"])
        problems = [Problem(loc, message, document.position(loc)) for loc, message in places]
        raise error_of(problems, document.name) from None
    return made.read_from(document, path)


def written_schema(model: type[WrittenModel], name: str, title: str) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of such files, for editors."""
    schema = cast("dict[str, Any]", _untitled(model.model_json_schema()))
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "$id": f"urn:dativo:{name}:1", **schema, "title": title}


def _untitled(schema: object) -> object:
    """Leave out the titles, which say the keys' names again; a key that is called so stays."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _untitled(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
