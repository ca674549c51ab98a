"""A tap of the Singer SDK with the rows of `plugin_readers.DictPlugin`: singer_tap.py COUNT, JSON lines on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, ClassVar

from made_rows import row
from singer_sdk import Stream, Tap, typing as th


class Rows(Stream):
    """The one stream."""

    name = "rows"
    primary_keys: ClassVar[tuple[str]] = ("id",)
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        th.Property("ts", th.DateTimeType),
        th.Property("customer", th.IntegerType),
        th.Property("quantity", th.IntegerType),
        th.Property("amount", th.NumberType),
        th.Property("score", th.NumberType),
        th.Property("status", th.StringType),
        th.Property("place", th.StringType),
        th.Property("contact", th.StringType),
        th.Property("note", th.StringType),
    ).to_dict()

    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:  # noqa: ARG002
        """Give the rows."""
        return (row(at) for at in range(self.config["rows"]))


class RowsTap(Tap):
    """The tap."""

    name = "tap-rows"
    config_jsonschema = th.PropertiesList(th.Property("rows", th.IntegerType)).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Offer the one stream."""
        return [Rows(self)]


if __name__ == "__main__":
    RowsTap(config={"rows": int(sys.argv[1])}).sync_all()
