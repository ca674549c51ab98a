"""What every Dativo reader promises, checked on this one: ``dativo plugin test csv_exports_reader.py``, or pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from csv_exports_reader import CSVExportsReader

from dativo_plugin_sdk.testing import Answer, Gap, ReaderCase, ReaderSuite, Request, StreamCase, serving

FILES = {
    "/index.json": {"orders": ["1.csv", "2.csv", "3.csv"], "notes": ["notes.csv"]},
    **{
        f"/{day}.csv": ("id,paid\n" + "".join(f"{day}{n:03},{n}.5\n" for n in range(200))).encode() for day in (1, 2, 3)
    },
    "/notes.csv": b"id,note\n" + b"".join(b"%d,%s\n" % (n, b"x" * 16_000) for n in range(4_400)),
}


def served(request: Request) -> Answer:
    """Answer as a folder of files does."""
    return Answer(FILES[request.path]) if request.path in FILES else Answer(status=404)


class TestCSVExportsReader(ReaderSuite):
    """Three days of orders, and long notes."""

    plugin = CSVExportsReader
    gaps = (
        Gap("bad_credentials", "not_applicable", "the exports are public"),
        Gap("secrets", "not_applicable", "the exports are public"),
    )

    @pytest.fixture
    def reader_case(self) -> Iterator[ReaderCase]:
        """Serve the exports."""
        with serving(served) as server:
            yield ReaderCase(
                streams=[StreamCase("orders", mode="incremental", primary_key=["id"], rows=600)],
                connection={"base_url": server.url},
                bad_host={"base_url": "http://127.0.0.1:1"},
                http="base_url",
                large=StreamCase("notes"),
            )
