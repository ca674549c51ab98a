import pytest
import yaml
from hypothesis import given, strategies as st

from dativo_ingest.job.yaml_nodes import read_document
from dativo_ingest.job.yaml_text import yaml_text

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12) | st.text(
    "0123456789.eExXoO_-+:~ ynNaif#'\"", max_size=8
)


@pytest.mark.parametrize(
    "text", ["1e3", "0o17", "0x1F", "0123", "no", "on", "~", "", "2024-01-01", ".inf", "12:30", "<<"]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert read_document(yaml_text({"key": text}).encode(), "a.yaml").data == {"key": text}


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3) | st.integers() | st.none(), min_size=1, max_size=4))
def test_what_is_written_reads_back_by_both_versions_of_yaml(data: dict) -> None:
    text = yaml_text(data)

    assert read_document(text.encode(), "a.yaml").data == data
    assert yaml.safe_load(text) == data
