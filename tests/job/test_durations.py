from datetime import timedelta

import pytest

from dativo_ingest.job.durations import duration_text, parse_duration


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "0.5s"), (59, "59s"), (60, "1m"), (90, "90s"), (7200, "2h"), (86_400, "1d"), (604_800, "1w")],
)
def test_a_length_of_time_is_written_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text).total_seconds() == seconds
