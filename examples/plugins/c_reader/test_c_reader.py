"""What every Dativo reader promises, checked on the one in C: ``make``, then ``dativo plugin test .``."""

from __future__ import annotations

from pathlib import Path

import pytest

from dativo_plugin_sdk.testing import Gap, ReaderCase, ReaderSuite, StreamCase

NO_LOGIN = "files of this machine are read without credentials"


class TestCReader(ReaderSuite):
    """A folder with a small file of readings, and a large one."""

    plugin = str(Path(__file__).with_name("dativo-plugin.yaml"))
    connector = "c_reader"
    gaps = (
        Gap("bad_credentials", "not_applicable", NO_LOGIN),
        Gap("secrets", "not_applicable", NO_LOGIN),
        Gap("retry_after", "not_applicable", "files are not asked by HTTP"),
    )

    @pytest.fixture
    def reader_case(self, tmp_path: Path) -> ReaderCase:
        """Write the files."""
        small = [f"{number};Tromsø;{number / 4};2026-01-02T03:04:05Z\n" for number in range(25)]
        large = f"1;{'x' * 900};0;2026-01-02T03:04:05Z\n" * 50_000
        (tmp_path / "small.readings").write_text("".join(small), encoding="utf-8")
        (tmp_path / "large.readings").write_text(large, encoding="utf-8")
        return ReaderCase(
            streams=[StreamCase("small", mode="incremental", primary_key=["id"], options={"batch_rows": 10}, rows=25)],
            connection={"path": str(tmp_path)},
            bad_host={"path": str(tmp_path / "nowhere")},
            large=StreamCase("large"),
        )
