"""What all models of a job have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class JobModel(BaseModel):
    """The base of the job's models: frozen, an unknown key is an error, and errors repeat no value."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
    )
