"""After a run that got through, and after one that gave up, nothing is left that is nobody's: not in the table's place,
not in the system's folder for temporary files, not beside the job. What a killed run leaves is looked at by the others.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from crash_places import PLACES, Place
from crash_runs import FENCED, INTERRUPTED, TRY_AGAIN, Scene

EACH_WAY = [pytest.param(name, write, id=f"{name}-{write}") for name, place in PLACES.items() for write in place.modes]


def moments(place: Place, passed: list[str]) -> list[tuple[str, int]]:
    """Choose the moments up to the commit at which a run may give up."""
    writer = place.writer.partition(":")[2]
    names = [f"{when} {writer}.{method}" for method in ("open", "write", "quarantine") for when in ("before", "after")]
    files = [f"after {seam.partition(':')[2]}" for seam in place.finished]
    return [(name, passed.count(name)) for name in [*names, *files, f"before {writer}.commit"]]


@pytest.mark.parametrize(("target", "write"), EACH_WAY)
def test_a_run_that_gives_up_takes_everything_away(scene: Callable[[str, str], Scene], target: str, write: str) -> None:
    table = scene(target, write)
    table.add_round()
    passed = table.run().points
    table.look()
    table.look_for_stray_files(whole=True)

    for moment in moments(table.place, passed):
        table.add_round()
        (ended,) = table.start(at=moment, how="raise")
        assert ended.code == INTERRUPTED, (moment, ended)
        assert table.look() == 0
        assert table.stray_files() == set(), moment
        assert list((table.folder / "tmp").iterdir()) == []
        table.look_whole(table.run())


@pytest.mark.parametrize("target", PLACES)
def test_of_many_that_create_a_table_one_lands_and_the_others_take_everything_away(
    scene: Callable[[str, str], Scene], target: str
) -> None:
    for _ in range(5):
        table = scene(target, "append")
        table.add_round()

        runners = table.start(4, apart=True)

        codes = sorted(ended.code for ended in runners)
        assert codes[0] == 0, runners
        assert set(codes[1:]) <= {0, FENCED, TRY_AGAIN}, runners
        assert table.look(runs=4) == 1
        assert {file for file in table.stray_files() if not table.place.foreign(file)} == set()
        assert list((table.folder / "tmp").iterdir()) == []
        table.look_for_stray_files()
        table.look_whole(table.run())
