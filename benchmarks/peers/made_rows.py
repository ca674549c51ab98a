"""Rows of ten columns as dicts, all different."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

_FIRST = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def row(at: int) -> dict[str, Any]:
    """Make one row; all are different."""
    return {
        "id": at,
        "ts": _FIRST + dt.timedelta(seconds=at),
        "customer": at * 7 % 500_000,
        "quantity": at % 100,
        "amount": Decimal(at % 1_000_000) / 100,
        "score": at / 3,
        "status": "shipped",
        "place": "berlin",
        "contact": f"customer no. {at * 7 % 500_000}",
        "note": f"order no. {at} to berlin",
    }
