"""A run that is stopped at any step of the protocol lands whole or not at all, and the next one makes it whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from crash_places import PLACES, Place
from crash_runs import SIGKILLED, Scene, moments

ROUNDS = 8
"""After so many rounds a scene gives way to a fresh one, so that it stays small."""
EACH_WAY = [
    pytest.param(name, write, id=f"{name}-{write}") for name, place in PLACES.items() for write in place.every_step
]


def warm(scene: Scene) -> Scene:
    """Give a scene whose table exists."""
    scene.add_round()
    scene.look_whole(scene.run())
    return scene


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("target", "write"), EACH_WAY)
def test_a_run_that_dies_at_any_step_lands_whole_or_not_at_all_and_the_next_makes_it_whole(
    scene: Callable[[str, str], Scene], target: str, write: str
) -> None:
    table = warm(scene(target, write))
    table.add_round()
    passed = table.run().points
    steps = moments(passed)
    table.look()

    landed: list[bool] = []
    for step in steps:
        if table.round > ROUNDS:
            table = warm(scene(target, write))
        table.add_round()
        (dead,) = table.start(at=step)
        # How often the operating system is asked depends on what is to be cleaned up: a late step may not come.
        assert dead.code == SIGKILLED or (dead.code == 0 and step[0] in table.place.events), (step, dead)
        landed.append(bool(table.look()))
        table.look_for_stray_files()
        ended = table.run()
        table.look_whole(ended)
        assert "after StreamReader.acknowledge" in ended.points  # also where the dead run has committed

    place = table.place
    for _ in range(2):
        table.add_round()
        table.look_whole(table.run())
    assert not (place.sweeps and place.files() - place.reachable())
    # Nothing lands before the commit's one call, everything is there after it.
    writer, names = named(place.writer), [name for name, _ in steps]
    call = next(name for name in passed[passed.index(f"before {writer}.commit") :] if name in commits(place)).split()[1]
    before, after = passed[: passed.index(f"before {call}")], passed[passed.index(f"after {call}") :]
    assert not any(done for step, done in zip(steps, landed, strict=True) if before.count(step[0]) >= step[1])
    assert landed[names.index(f"after {call}")]
    assert landed[-1]
    # Runs were stopped before files, between them, before the commit, before it was confirmed, and after that.
    assert {f"after {writer}.open", f"after {writer}.write", f"before {writer}.commit"} <= {*before}
    assert {f"after {named(seam)}" for seam in place.finished} <= {*before}
    assert {f"after {writer}.commit", "after StreamReader.acknowledge"} <= {*after}


def named(seam: str) -> str:
    return seam.partition(":")[2].partition("|")[0]


def commits(place: Place) -> set[str]:
    return {f"after {named(seam)}" for seam in place.atomic}
