import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dativo_ingest.sandbox.manifest import Manifest
from dativo_ingest.sandbox.policy import Policy
from dativo_ingest.sandbox.written import read_written

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```yaml\n(# yaml-language-server: \$schema=\S+/(plugin|policy)\.schema\.json\n.*?)```", re.DOTALL)


def blocks() -> Iterator[tuple[Path, str, str]]:
    for page in sorted((ROOT / "docs").glob("*.md")):
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            yield page, found[2], found[1]


@pytest.mark.parametrize(("page", "what", "text"), [pytest.param(*each, id=each[0].stem) for each in blocks()])
def test_a_manifest_or_policy_of_the_documentation_is_one(page: Path, what: str, text: str) -> None:
    model = {"plugin": Manifest, "policy": Policy}[what]

    made = read_written(model, text.encode(), page, hint_if_empty="")

    assert made.path == page
