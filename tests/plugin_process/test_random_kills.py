"""The engine, or a plugin, is killed at a random moment: rows are there as ``delivery`` says, and nothing else remains.

``DATIVO_TEST_PLUGIN_KILLS=50`` asks for more kills than the few of every day.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_runs import Scene, Zygote, hatched

KILLS = int(os.environ.get("DATIVO_TEST_PLUGIN_KILLS", "6"))
WRITERS = ("AtomicWriter", "DictWriter", "LedgerWriter")
VICTIMS = (
    "engine",
    "first",
    "last",
    "engine",
    "first with its tree",
    "last with its tree",
    "first's holder",
    "last's holder",
)
AGAIN = 0.4  # how often a run that gets through comes after one that was killed
OF_EACH = [KILLS // len(WRITERS) + (number < KILLS % len(WRITERS)) for number in range(len(WRITERS))]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with hatched() as process:
        yield process


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("writer", "kills"), [pytest.param(*each, id=each[0]) for each in zip(WRITERS, OF_EACH, strict=True)]
)
def test_runs_killed_at_random_moments_deliver_what_they_promise_and_leave_nothing(
    zygote: Zygote, tmp_path: Path, writer: str, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  shown where the test fails
    chance = random.Random(seed)
    scene = Scene(zygote, tmp_path, writer)
    longest_s = 1.0  # until it is known

    killed = 0
    while killed < kills:
        scene.add_round()
        ended = scene.run(kill_after_s=chance.uniform(0, longest_s), victim=chance.choice(VICTIMS))
        killed += bool(ended.struck)
        scene.look(ended)
        if chance.random() < AGAIN or killed == kills:
            whole = scene.run()
            scene.look_whole(whole)
            longest_s = whole.seconds
