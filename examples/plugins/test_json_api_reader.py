"""What every Dativo reader promises, checked on this one: ``dativo plugin test json_api_reader.py``, or pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from json_api_reader import JSONAPIReader
from loopback_api import TOKEN, ShopApi, serve

from dativo_plugin_sdk.testing import ReaderCase, ReaderSuite, StreamCase


class TestJSONAPIReader(ReaderSuite):
    """The shop API with 250 orders, and customers with very long names."""

    plugin = JSONAPIReader

    @pytest.fixture
    def reader_case(self) -> Iterator[ReaderCase]:
        """Serve the API."""
        shop = ShopApi()
        shop.rows["customers"] = [
            {"id": number, "name": "Å" * 4096, "updated_at": "2026-01-01T08:00:00Z"} for number in range(6_000)
        ]
        with serve(shop) as api:
            yield ReaderCase(
                streams=[StreamCase("orders", mode="incremental", primary_key=["id"], rows=250)],
                connection={"base_url": api.url},
                credentials={"token": TOKEN},
                bad_credentials={"token": "another token"},
                bad_host={"base_url": "http://127.0.0.1:1"},
                options={"backoff_s": 0.0},
                http="base_url",
                large=StreamCase("customers"),
            )
