"""A REST catalog whose answers get lost: rows land once, and a run says that it failed only where it may have.

A proxy of the test's own stands between a run and a real catalog. It forwards a commit and drops the answer, or makes
one up, or drops the question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_places import STREAM, IcebergRest
from crash_runs import Scene, Zygote
from s3_proxy import Exchange, Fault, S3Proxy, between, lose_answer, lose_request
from s3_service import S3

UNKNOWN, TRY_AGAIN = 73, 75


def answer_after(status: int) -> Fault:
    """Let the catalog do it, and say something else."""

    def fault(exchange: Exchange) -> None:
        exchange.forward()
        exchange.answer(status, {"Content-Type": "text/html"}, b"<h1>a gateway is unwell</h1>")

    return fault


DONE: dict[str, Fault] = {
    "the answer is lost": lose_answer,
    "500 after it was done": answer_after(500),
    "502 after it was done": answer_after(502),
    "504 after it was done": answer_after(504),
}


class BehindAProxy(IcebergRest):
    """The catalog, reached through the proxy by runs, and directly by the test."""

    proxy: S3Proxy

    def target(self) -> dict[str, Any]:
        target = super().target()
        return {**target, "connection": {**target["connection"], "uri": self.proxy.endpoint}}


@pytest.fixture
def proxy(s3: S3) -> Iterator[S3Proxy]:
    with between(s3.catalog_uri) as proxy:
        yield proxy


@pytest.fixture
def behind(zygote: Zygote, tmp_path: Path, s3: S3, proxy: S3Proxy) -> Iterator[Callable[[str], Scene]]:
    """Give a scene behind the proxy, once."""
    place = BehindAProxy(tmp_path / "scene", s3)
    place.proxy = proxy
    place.prepare()
    yield lambda write: Scene(zygote, place, write)
    place.clear()


def to(table: str) -> Callable[[Exchange], bool]:
    """Pick the commits to a table."""
    return lambda exchange: exchange.method == "POST" and exchange.path.endswith(f"/tables/{table}")


def creating(table: str) -> Callable[[Exchange], bool]:
    """Pick what creates a table, at once or in preparation."""
    return lambda exchange: (
        exchange.method == "POST" and exchange.path.endswith("/tables") and json.loads(exchange.body)["name"] == table
    )


def warm(scene: Scene) -> None:
    scene.add_round()
    scene.look_whole(scene.run())


@pytest.mark.parametrize("fault", DONE.values(), ids=DONE)
@pytest.mark.parametrize("write", ["append", "overwrite", "merge"])
def test_a_commit_without_an_answer_that_landed_is_a_commit(
    behind: Callable[[str], Scene], proxy: S3Proxy, write: str, fault: Fault
) -> None:
    scene = behind(write)
    warm(scene)
    scene.add_round()
    proxy.faults.append((to(STREAM), fault))

    ended = scene.run()

    assert proxy.faults == []
    scene.look_whole(ended)
    scene.add_round()
    scene.look_whole(scene.run())


@pytest.mark.parametrize("fault", DONE.values(), ids=DONE)
def test_a_first_commit_without_an_answer_that_landed_is_a_commit(
    behind: Callable[[str], Scene], proxy: S3Proxy, fault: Fault
) -> None:
    scene = behind("append")
    scene.add_round()
    proxy.faults.append((to(STREAM), fault))

    ended = scene.run()

    assert proxy.faults == []
    scene.look_whole(ended)


@pytest.mark.parametrize("fault", DONE.values(), ids=DONE)
def test_rejected_rows_whose_publication_got_no_answer_are_published_once(
    behind: Callable[[str], Scene], proxy: S3Proxy, fault: Fault
) -> None:
    scene = behind("append")
    warm(scene)
    scene.add_round()
    proxy.faults.append((to(f"{STREAM}__quarantine"), fault))

    ended = scene.run()

    assert proxy.faults == []
    scene.look_whole(ended)


@pytest.mark.parametrize("write", ["append", "merge"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_commit_that_never_arrived_is_unknown_and_the_next_run_lands_it(
    behind: Callable[[str], Scene], proxy: S3Proxy, write: str, first: bool
) -> None:
    scene = behind(write)
    if not first:
        warm(scene)
    scene.add_round()
    proxy.faults.append((to(STREAM), lose_request))

    (ended,) = scene.start()

    assert ended.code == UNKNOWN
    assert ended.report["errors"][0]["error_code"] == "COMMIT_STATE_UNKNOWN"
    assert scene.look() == 0
    scene.look_for_stray_files()
    scene.look_whole(scene.run())


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_catalog_that_is_gone_after_the_commit_leaves_the_outcome_unknown_and_the_rows_are_there_once(
    behind: Callable[[str], Scene], proxy: S3Proxy, first: bool
) -> None:
    scene = behind("append")
    if not first:
        warm(scene)
    scene.add_round()

    def die(exchange: Exchange) -> None:
        exchange.forward()
        proxy.always = lose_request

    proxy.faults.append((to(STREAM), die))

    (ended,) = scene.start()
    proxy.always = None

    assert ended.code == UNKNOWN
    assert scene.look() == 1
    scene.look_for_stray_files()
    scene.look_whole(scene.run())


@pytest.mark.parametrize("table", [STREAM, f"{STREAM}__quarantine"])
@pytest.mark.parametrize("fault", [*DONE.values(), lose_request], ids=[*DONE, "the question is lost"])
def test_a_table_whose_creation_got_no_answer_is_tried_again_by_the_next_run(
    behind: Callable[[str], Scene], proxy: S3Proxy, table: str, fault: Fault
) -> None:
    scene = behind("append")
    scene.add_round()
    proxy.faults.append((creating(table), fault))

    (ended,) = scene.start()

    assert ended.code == TRY_AGAIN
    assert scene.look() == 0
    scene.look_for_stray_files()
    scene.look_whole(scene.run())
