import pytest
from hypothesis import given, strategies as st

from dativo_ingest.job.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("100", 100),
        ("64Ki", 65_536),
        ("512Mi", 536_870_912),
        ("1.5Gi", 1_610_612_736),
        (" 2 Ti ", 2 * 2**40),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Mi", "512MB", "512mi", "-1Mi", "1e9", "1,5Gi", "\u0665Mi", "1Mi\n1"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**53))
def test_a_size_is_written_as_it_is_read(size_bytes: int) -> None:
    assert parse_size(size_text(size_bytes)) == size_bytes
