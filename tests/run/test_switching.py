"""Threads of a run take turns soon."""

from __future__ import annotations

import sys

from dativo_ingest.run.switching import quick_switching


def test_threads_take_turns_soon_while_a_run_goes_on() -> None:
    before_s = sys.getswitchinterval()

    with quick_switching():
        within_s = sys.getswitchinterval()

    assert within_s <= 0.001
    assert sys.getswitchinterval() == before_s
