from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CRASHING_RUNS = Path(__file__).with_name("crashing_runs.py")


def crash(*arguments: object) -> dict:
    done = subprocess.run(
        [sys.executable, CRASHING_RUNS, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_a_run_that_dies_at_any_step_lands_whole_or_not_at_all_and_the_next_goes_on(tmp_path, write):
    outcome = crash("every-step", tmp_path, write)

    assert outcome["wrong"] == []
    assert outcome["steps"] > 12


def test_runs_killed_at_random_moments_double_no_row_and_lose_none(tmp_path):
    outcome = crash("kill", tmp_path, 6)

    assert outcome["wrong"] == []
