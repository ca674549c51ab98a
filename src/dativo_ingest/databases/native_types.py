"""What a database's types become in Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa

Fidelity: TypeAlias = Literal["exact", "widened", "text", "json"]
"""How a type comes over: as itself, as a larger one, as the text that the server writes, or as JSON made of it."""

DECIMAL_DIGITS = 38
_PLAIN_EXPRESSION = "{0}"


@dataclass(frozen=True)
class DatabaseType:
    """How the values of a type are asked for and what they become."""

    arrow: pa.DataType
    fidelity: Fidelity
    expression: str = _PLAIN_EXPRESSION
    """What to select: ``{0}`` stands for the quoted column."""
    is_json: bool = False

    @property
    def is_plain(self) -> bool:
        """Say whether the column itself is selected."""
        return self.expression == _PLAIN_EXPRESSION
