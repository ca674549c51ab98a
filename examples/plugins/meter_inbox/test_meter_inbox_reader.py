"""What every Dativo reader promises, checked on this one: ``dativo plugin test meter_inbox_reader.py``, or pytest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from meter_inbox_reader import MeterInboxReader

from dativo_plugin_sdk.testing import Gap, OldState, ReaderCase, ReaderSuite, StreamCase

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def readings(day: int, count: int, meter: str) -> list[dict[str, object]]:
    """Make readings of a day, one a second."""
    begin = BEGIN + timedelta(days=day)
    return [{"meter": meter, "at": begin + timedelta(seconds=n), "kwh": float(n)} for n in range(count)]


class TestMeterInboxReader(ReaderSuite):
    """Three days of readings, cut into small batches, and one of meters with very long names."""

    plugin = MeterInboxReader
    gaps = (
        Gap("bad_credentials", "not_applicable", "files have none"),
        Gap("secrets", "not_applicable", "files have none"),
        Gap("retry_after", "not_applicable", "there is no HTTP API"),
        Gap("memory", "not_applicable", "readings are small; batches have at most 10,000"),
    )

    @pytest.fixture
    def reader_case(self, tmp_path: Path) -> ReaderCase:
        """Fill an inbox."""
        days = [readings(day, 50, "north-1") for day in range(3)]
        for day, rows in enumerate(days, start=1):
            lines = [json.dumps({**row, "at": str(row["at"])}) + "\n" for row in rows]
            (tmp_path / f"2026-03-0{day}.jsonl").write_text("".join(lines), encoding="utf-8")
        return ReaderCase(
            streams=[
                StreamCase(
                    "readings",
                    mode="incremental",
                    primary_key=["meter", "at"],
                    rows=[row for rows in days for row in rows],
                )
            ],
            connection={"path": str(tmp_path)},
            bad_host={"path": str(tmp_path / "nowhere")},
            old_states=[OldState(1, {"last_file": "2026-03-01.jsonl"})],
            batch_bytes=1024,
        )
