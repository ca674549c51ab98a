"""Two and four runners at once, one of which dies: what they carry lands once, whoever does it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from crash_places import PLACES, Place
from crash_runs import FENCED, SIGKILLED, TRY_AGAIN, Scene

AT_ONCE = [pytest.param(name, count, id=f"{name}-{count}") for name in PLACES for count in (2, 4)]
MayEnd = {0, FENCED, TRY_AGAIN}


def steps(place: Place, passed: list[str]) -> list[str]:
    """Choose the steps of the protocol where a runner dies while others are at work."""
    writer = place.writer.partition(":")[2]
    landing = passed.index(f"before {writer}.commit")
    calls = {f"after {seam.partition(':')[2].partition('|')[0]}" for seam in place.atomic}
    atomic = next(name for name in passed[landing:] if name in calls).removeprefix("after ")
    return [
        f"after {writer}.open",
        f"after {writer}.write",
        f"before {atomic}",
        f"after {atomic}",
        "before StreamReader.acknowledge",
    ]


@pytest.mark.parametrize(("target", "count"), AT_ONCE)
def test_of_runners_started_together_without_a_common_lease_one_lands_and_one_may_die(
    scene: Callable[[str, str], Scene], target: str, count: int
) -> None:
    write = "append" if count == 2 else PLACES[target].modes[-1]
    table = scene(target, write)
    table.add_round()
    first = table.start(count, apart=True)
    assert {ended.code for ended in first} <= MayEnd, first
    table.look(runs=count)
    table.look_for_stray_files()
    table.add_round()
    passed = table.run().points
    table.look()

    for step in steps(table.place, passed):
        table.add_round()
        runners = table.start(count, at=(step, 1), apart=True)
        assert {ended.code for ended in runners} <= {*MayEnd, SIGKILLED}, (step, runners)
        assert sum(ended.code == SIGKILLED for ended in runners) <= 1
        assert table.look(runs=count) or not any(ended.code == 0 for ended in runners)
        table.look_for_stray_files()
        table.look_whole(table.run())


@pytest.mark.parametrize("target", PLACES)
def test_a_runner_that_waits_for_one_that_dies_does_its_work(scene: Callable[[str, str], Scene], target: str) -> None:
    table = scene(target, "append")
    table.add_round()
    passed = table.run().points
    table.look()

    for step in steps(table.place, passed)[1:4]:
        table.add_round()
        dead, *others = table.start(3, at=(step, 1))
        assert [ended.code for ended in others] == [0, 0], (step, others)
        assert dead.code in (SIGKILLED, 0), (step, dead)
        table.look(runs=3)
        table.look_for_stray_files()
        table.look_whole(table.run())
