"""Arrow that means harm, received in a process that must live through it in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_arrow
import pytest

from dativo_plugin_sdk.protocol.arrow_schema_claims import see_schema

MOST_BYTES = 448 * 2**20


def lived_through(*arguments: str) -> Any:
    """Run `hostile_arrow` and give what it found."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "hostile_arrow", *arguments],
        cwd=Path(hostile_arrow.__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["peak_bytes"] < MOST_BYTES
    return said["found"]


def test_every_known_attack_is_refused_for_what_it_is() -> None:
    found = lived_through()

    assert len(found) > 120
    assert {each["name"]: each["said"] for each in found if each["said"] is not None} == {}


@pytest.mark.parametrize("seed", [1, 2])
def test_of_thousands_of_damaged_streams_what_passes_can_be_used(seed: int) -> None:
    passed = lived_through(str(seed), "6000")

    assert 100 < passed < 6000


def test_honest_schemas_are_far_from_the_bound() -> None:
    import pyarrow as pa

    fields = [pa.field(f"column number {n}", pa.string(), metadata={"doc": "x" * 200}) for n in range(20_000)]

    see_schema(pa.schema(fields).serialize().to_pybytes()[8:])
