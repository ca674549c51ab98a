"""How a job says that rows deleted at the source are noticed, where no log and no op tells of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from dativo_ingest.job.durations import PATTERN, Duration
from dativo_ingest.job.job_model import JobModel
from dativo_plugin_sdk.config import list_of_one


def _zero(value: object) -> object:
    if isinstance(value, int | float) and value:
        raise ValueError("write a number and a unit: 30m, 24h, 7d; or 0 for every run")
    return timedelta(0) if value in (0, "0") else value


def _texts(value: object) -> object:
    """Take YAML's ``true`` and ``1`` for the text that they are written with."""
    found = list_of_one(value)
    if not isinstance(found, list):
        found = [found]
    return [str(each).lower() if isinstance(each, bool) else each for each in found]


class SoftColumn(JobModel):
    """A column of the source says whether a row is deleted."""

    mode: Literal["soft_column"] = Field(description="`soft_column`.")
    column: str = Field(
        min_length=1,
        description="The column. A row is deleted where it is true, a number but 0, or a time, whichever time it is.",
    )
    values: Annotated[list[str], BeforeValidator(_texts, json_schema_input_type=str | list[str])] = Field(
        default_factory=list,
        description="The values that say that a row is deleted, such as `[Y]`; a column of texts needs them. They go "
        "before what `column` says.",
    )


class KeyDiff(JobModel):
    """Now and then, rows go whose keys the source has no more."""

    mode: Literal["key_diff"] = Field(description="`key_diff`; alone, it stands for all its defaults.")
    every: Annotated[
        Duration,
        BeforeValidator(_zero),
        WithJsonSchema({"anyOf": [{"type": "string", "pattern": PATTERN}, {"const": 0}]}),
    ] = Field(
        default="24h",  # as schemas and documentation say it
        validate_default=True,
        description="A run compares the keys when the last comparison is this long ago: `24h`, `7d`; `0` is every run.",
    )
    max_deleted_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The stream fails, and commits nothing, where more than this part of the table's rows would go (0 "
        "to 1), or where the source has no key at all; 1 allows both.",
    )


_MODES = ("none", "soft_column", "key_diff")
_TAG = "function-"  # what begins so is no part of where a problem is


def _written_out(value: object) -> object:
    if value == "none":
        return None
    found = {"mode": value} if isinstance(value, str) else value
    if isinstance(found, dict) and found.get("mode") not in _MODES[1:]:
        raise ValueError(f"mode is one of {', '.join(_MODES)}, such as delete_detection: key_diff")
    return found


def _tag(value: object) -> str:
    return _TAG + str(value.get("mode") if isinstance(value, dict) else getattr(value, "mode", None))


DeleteDetection: TypeAlias = Annotated[
    Annotated[
        Annotated[SoftColumn, Tag(f"{_TAG}soft_column")] | Annotated[KeyDiff, Tag(f"{_TAG}key_diff")],
        Discriminator(
            _tag, custom_error_type="mapping", custom_error_message=f"one of {', '.join(_MODES)} was expected"
        ),
    ]
    | None,
    BeforeValidator(_written_out, json_schema_input_type=Literal["none", "key_diff"] | SoftColumn | KeyDiff | None),
]
"""How deletes are noticed; None where they are not, and a lone word stands for a mode with its defaults."""
