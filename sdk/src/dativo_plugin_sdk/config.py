"""Configuration as connectors see it: parsed once, frozen, with secrets that do not show."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from dativo_plugin_sdk.errors import InvalidConfigError

Model = TypeVar("Model", bound=BaseModel)

Secret = SecretStr
"""A value that prints as stars; ``get_secret_value()`` gives it, at the last moment."""


class PluginConfig(BaseModel):
    """The base of every connector's configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


class Credentials(dict[str, Any]):
    """A dict of plain values whose repr shows the keys and stars."""

    def __repr__(self) -> str:
        return f"Credentials({', '.join(f'{key}=**********' for key in self)})"

    __str__ = __repr__


def as_credentials(value: object) -> object:
    """Make a mapping one that does not show its values, for pydantic's ``BeforeValidator``."""
    return Credentials(value) if isinstance(value, Mapping) else value


def list_of_one(value: object) -> object:
    """Make a lone text a list, for pydantic's ``BeforeValidator``."""
    return [value] if isinstance(value, str) else value


Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(list_of_one)]
"""Texts in order; a lone text stands for a list of one."""


class SourceConfig(BaseModel):
    """The source of a job as its reader gets it: references resolved, paths absolute.

    ``objects`` names the streams asked for; ``files`` the files of a file stream; ``engine`` is
    ``{"options": {...}, "job": NAME}``; ``options`` what the job and the stream set beyond that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    type: str
    connection: dict[str, Any] = Field(default_factory=dict)
    credentials: Annotated[Credentials, BeforeValidator(as_credentials)] = Field(default_factory=Credentials)
    objects: list[str] = Field(default_factory=list)
    files: list[Any] = Field(default_factory=list)
    engine: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    incremental: dict[str, Any] = Field(default_factory=dict)

    def __repr__(self) -> str:
        return f"SourceConfig(type={self.type!r}, connection={sorted(self.connection)}, objects={self.objects})"

    __str__ = __repr__


class TargetConfig(BaseModel):
    """The target of a job as its writer gets it: references resolved, paths absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    type: str
    connection: dict[str, Any] = Field(default_factory=dict)
    credentials: Annotated[Credentials, BeforeValidator(as_credentials)] = Field(default_factory=Credentials)
    file_format: str | None = None
    partitioning: list[Any] = Field(default_factory=list)
    engine: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    def __repr__(self) -> str:
        return f"TargetConfig(type={self.type!r}, connection={sorted(self.connection)})"

    __str__ = __repr__


def parse(model: type[Model], data: object, *, where: str) -> Model:
    """Validate ``data`` as ``model``: the one caller of pydantic's validation in Dativo.

    Args:
        model: What the data must be.
        data: Plain values, as YAML or JSON gives them.
        where: What the data is, for the message: ``source.connection`` or a file's name.

    Raises:
        InvalidConfigError: Naming every problem, with a suggestion for a misspelt key. ``details["problems"]`` lists
            ``{"loc": [...], "message": str}``, so that a caller who knows lines and columns can add them. No value is
            repeated: it may be a secret.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = list(_problems(model, error))
    lines = [f"{'.'.join(map(str, [where, *problem['loc']]))}: {problem['message']}" for problem in problems]
    raise InvalidConfigError("\n".join(lines), details={"where": where, "problems": problems})


def _problems(model: type[BaseModel], error: ValidationError) -> Iterator[dict[str, Any]]:
    for item in error.errors(include_url=False, include_input=False):
        loc = [part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = sorted(_keys_beside(model, loc))
            close = difflib.get_close_matches(str(loc[-1]), known, n=1)
            message = "unknown key" + (f", did you mean {close[0]}" if close else "")
            message += f"; known keys: {', '.join(known)}" if known and not close else ""
        elif item["type"] == "missing":
            message = "required key is missing"
        yield {"loc": loc, "message": message}


def _keys_beside(model: type[BaseModel], loc: list[Any]) -> set[str]:
    """Give the keys that are allowed where the unknown key ``loc[-1]`` stands."""
    models: set[type[BaseModel]] = {model}
    for part in loc[:-1]:
        found: set[type[BaseModel]] = set()
        for each in models:
            if isinstance(part, str) and part in each.model_fields:
                found |= _models_in(each.model_fields[part].annotation)
        models = found or models
    return {info.alias or name for each in models for name, info in each.model_fields.items()}


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    found: set[type[BaseModel]] = set()
    for argument in getattr(annotation, "__args__", ()):
        found |= _models_in(argument)
    return found
