"""The collector of cycles rests while a run starts."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dativo_ingest.run.collector import resting, wake


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_the_collector_rests_until_it_is_woken() -> None:
    with resting():
        before = gc.isenabled()
        wake()
        after, frozen = gc.isenabled(), gc.get_freeze_count()

    assert (before, after) == (False, True)
    assert frozen > 1000
    assert gc.get_freeze_count() < frozen


def test_a_start_that_fails_leaves_no_collector_at_rest() -> None:
    with pytest.raises(ValueError, match="no job"), resting():
        raise ValueError("no job")

    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()

    with resting():
        wake()
        within = gc.isenabled()

    assert not within
    assert not gc.isenabled()


def test_waking_one_that_is_awake_leaves_old_objects_to_it() -> None:
    before = gc.get_freeze_count()

    wake()

    assert gc.get_freeze_count() == before
