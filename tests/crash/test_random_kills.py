"""Runs are killed at random moments, 200 of them: the table holds each row once, before and after the next run.

``DATIVO_TEST_KILLS`` asks for another number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from crash_places import PLACES
from crash_runs import SIGKILLED, Scene

KILLS = int(os.environ.get("DATIVO_TEST_KILLS", "200"))
ROUNDS = 7
EACH_WAY = [(name, write) for name, place in PLACES.items() for write in place.modes]
OF_EACH = [KILLS // len(EACH_WAY) + (number < KILLS % len(EACH_WAY)) for number in range(len(EACH_WAY))]


@pytest.mark.parametrize(
    ("target", "write", "kills"),
    [pytest.param(*way, kills, id="-".join(way)) for way, kills in zip(EACH_WAY, OF_EACH, strict=True)],
)
def test_runs_killed_at_random_moments_double_no_row_and_lose_none(
    scene: Callable[[str, str], Scene], target: str, write: str, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  shown where the test fails
    chance = random.Random(seed)
    table = scene(target, write)
    table.add_round()
    longest_s = table.run().seconds
    table.look()
    table = scene(target, write)  # so that first commits are killed, too

    killed = 0
    while killed < kills:
        if table.round >= ROUNDS:
            table = scene(target, write)
        table.add_round()
        (dead,) = table.start(kill_after_s=chance.uniform(0, longest_s))
        killed += dead.code == SIGKILLED
        table.look()
        table.look_for_stray_files()
        ended = table.run()
        table.look_whole(ended)
        longest_s = max(longest_s, ended.seconds)
