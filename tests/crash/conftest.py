"""What the tests of runs that die share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from crash_places import PLACES, Place
from crash_runs import Scene, Zygote

MakeScene = Callable[[str, str], Scene]


@pytest.fixture
def scene(zygote: Zygote, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeScene]:
    """Give fresh scenes: the name of the target, and how it is written."""
    numbers = count()
    places: list[Place] = []

    def make(target: str, write: str) -> Scene:
        kind = PLACES[target]
        service = request.getfixturevalue(kind.needs) if kind.needs is not None else None
        places.append(kind(tmp_path / f"scene{next(numbers)}", service))
        places[-1].prepare()
        return Scene(zygote, places[-1], write)

    yield make
    for place in places:
        place.clear()
