from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dativo_ingest.run.lease import Leases
from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore
from dativo_plugin_sdk import ConcurrencyError, FencedError

KEYS = ["app/orders", "app/customers"]
ELSEWHERE = Owner("theirs", "elsewhere", 7, "another boot", "12345")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.db"


@pytest.fixture
def store(path: Path) -> SqliteLeaseStore:
    return SqliteLeaseStore(path)


def leases(store: SqliteLeaseStore, run_id: str = "mine", ttl_s: float = 60) -> Leases:
    return Leases(store, Owner.here(run_id), ttl_s=ttl_s)


def until(true: Callable[[], object]) -> None:
    """Wait for something that comes, by the test's time-out at the latest."""
    while not true():
        time.sleep(0.02)


def is_robbed(ours: Leases, key: str) -> bool:
    try:
        ours.check(key)
    except FencedError:
        return True
    return False


def test_a_held_lease_is_refused_with_who_holds_it(store: SqliteLeaseStore) -> None:
    store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=False)

    with leases(store) as ours, pytest.raises(ConcurrencyError) as caught:
        ours.take(KEYS)

    assert "app/orders is held by run theirs on elsewhere, process 7, begun 0 s ago" in caught.value.message
    assert caught.value.retryable
    assert caught.value.details | {"age_s": 0, "silent_s": 0} == {
        "key": "app/orders", "run_id": "theirs", "host": "elsewhere", "pid": 7, "age_s": 0, "silent_s": 0
    }  # fmt: skip


def test_leases_are_taken_all_or_none(store: SqliteLeaseStore) -> None:
    store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=False)

    refused = store.take(KEYS, Owner.here("mine"), ttl_s=60, steal=False)
    free = store.take(["app/customers"], replace(ELSEWHERE, run_id="third"), ttl_s=60, steal=False)

    assert refused is not None
    assert free is None


def test_of_many_that_take_a_lease_at_once_one_has_it(path: Path) -> None:
    def take(number: int) -> bool:
        owner = Owner.here(f"run {number}")
        return SqliteLeaseStore(path).take(KEYS, owner, ttl_s=60, steal=False) is None

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(8)))

    assert sum(taken) == 1


def test_a_lease_is_free_after_its_run(store: SqliteLeaseStore) -> None:
    with leases(store, "first") as first:
        first.take(KEYS)
        first.release("app/customers")
        early = store.take(["app/customers"], ELSEWHERE, ttl_s=60, steal=False)
    with leases(store, "second") as second:
        later = second.take(["app/orders"])

    assert early is None
    assert later


def test_an_expired_lease_is_taken_silently(store: SqliteLeaseStore) -> None:
    store.take(KEYS, ELSEWHERE, ttl_s=0, steal=False)
    told: list[str] = []

    with leases(store) as ours:
        taken = ours.take(KEYS, tell=told.append)

    assert taken
    assert (told, ours.warning) == ([], None)


def test_a_lease_whose_process_was_killed_is_free_at_once(path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dativo_ingest.run.lease_store import *;"
        "SqliteLeaseStore(Path(sys.argv[1])).take(['app/orders'], Owner.here('theirs'), ttl_s=3600, steal=False);"
        "print('taken', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        held = SqliteLeaseStore(path).take(["app/orders"], Owner.here("mine"), ttl_s=60, steal=False)
        process.kill()
    free = SqliteLeaseStore(path).take(["app/orders"], Owner.here("mine"), ttl_s=60, steal=False)

    assert held is not None
    assert held.owner.pid == process.pid
    assert free is None


@pytest.mark.parametrize(
    ("changes", "is_free"),
    [
        pytest.param({"process": "1"}, True, id="the process id has been given to another process"),
        pytest.param({"host": "elsewhere", "process": "1"}, False, id="another host's processes cannot be seen"),
        pytest.param({"machine": "another container", "process": "1"}, False, id="nor those of another container"),
        pytest.param({}, False, id="a live process"),
    ],
)
def test_a_process_is_known_to_be_gone_only_on_its_own_machine(
    changes: dict[str, str], is_free: bool, store: SqliteLeaseStore
) -> None:
    store.take(["app/orders"], replace(Owner.here("theirs"), **changes), ttl_s=60, steal=False)

    holder = store.take(["app/orders"], Owner.here("mine"), ttl_s=60, steal=False)

    assert (holder is None) is is_free


def test_heartbeats_keep_a_lease_beyond_its_time(store: SqliteLeaseStore) -> None:
    with leases(store, ttl_s=0.6) as ours:
        ours.take(KEYS)
        began_s = time.monotonic()
        refused = []
        while time.monotonic() - began_s < 2:
            refused.append(store.take(KEYS, ELSEWHERE, ttl_s=60, steal=False))
            time.sleep(0.05)

    assert all(holder is not None for holder in refused)


def test_a_robbed_run_notices_at_its_next_heartbeat(store: SqliteLeaseStore) -> None:
    with leases(store, ttl_s=0.3) as ours:
        ours.take(KEYS)
        store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=True)
        until(lambda: is_robbed(ours, "app/orders"))

        with pytest.raises(FencedError, match="run theirs on elsewhere, process 7"):
            ours.check("app/orders")
        ours.check("app/customers")

    assert store.take(["app/orders"], Owner.here("third"), ttl_s=60, steal=False) is not None


def test_a_robbed_run_notices_before_its_commit(store: SqliteLeaseStore) -> None:
    with leases(store, ttl_s=3600) as ours:
        ours.take(KEYS)
        ours.confirm("app/orders")
        with leases(store, "robber") as robber:
            robber.take(["app/orders"], steal=True)

            with pytest.raises(FencedError):
                ours.confirm("app/orders")


def test_waiting_ends_when_the_other_run_does(store: SqliteLeaseStore) -> None:
    store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=False)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        store.release(["app/orders"], ELSEWHERE)

    with leases(store) as ours:
        taken = ours.take(KEYS, wait_s=math.inf, tell=tell)

    assert taken
    assert len(told) == 1
    assert "waiting for run theirs on elsewhere" in told[0]


def test_waiting_has_an_end(store: SqliteLeaseStore) -> None:
    store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=False)

    with leases(store) as ours, pytest.raises(ConcurrencyError, match="waited"):
        ours.take(KEYS, wait_s=0.1)


def test_waiting_can_be_stopped(store: SqliteLeaseStore) -> None:
    store.take(["app/orders"], ELSEWHERE, ttl_s=60, steal=False)
    stop = threading.Event()
    stop.set()

    with leases(store) as ours:
        taken = ours.take(KEYS, wait_s=math.inf, stop=stop)

    assert not taken


def test_where_no_lease_can_be_kept_the_run_is_warned_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with leases(SqliteLeaseStore(tmp_path / "file" / "state.db")) as ours:
        taken = ours.take(KEYS)
        ours.confirm("app/orders")

    assert taken
    assert ours.warning is not None
    assert "only the commit's fence" in ours.warning
