from datetime import timedelta

import pytest

from dativo_ingest.job.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(hours=24)),
        (" 7 d ", timedelta(days=7)),
        ("1.5w", timedelta(days=10.5)),
        ("0s", timedelta()),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 days", "1e3d", "99999999999999w"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time|too long"):
        parse_duration(text)
