import json

import pytest

from dativo_ingest.cli import progress
from dativo_ingest.cli.logs import Talk
from dativo_ingest.run.events import Progress, RunFinished, RunStarted, StreamFinished, StreamStarted, Warning_


class Clock:
    """Tells the time that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


ROWS = {"read": 3000, "written": 2999, "quarantined": 1, "skipped": 0}


def at(rows: int, source_bytes: int) -> Progress:
    return Progress("orders", rows, rows, 1, source_bytes, source_bytes * 2)


def play(listener: object, clock: Clock) -> None:
    assert callable(listener)
    listener(RunStarted("r1", "app", ("orders",)))
    listener(StreamStarted("orders", 4_000_000, None))
    for second, rows in ((1, 500), (5, 1000), (6, 1500), (10, 2000)):
        clock.now_s = second
        listener(at(rows, rows * 1000))
    listener(Warning_("orders", "odd"))
    listener(StreamFinished("orders", {"status": "succeeded", "rows": ROWS}))
    listener(RunFinished({"status": "succeeded", "exit_code": 0}))


def test_plain_progress_is_a_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    play(progress.PlainLines(Talk(), clock), clock)

    assert capsys.readouterr().err.splitlines() == [
        "app: run r1, 1 stream",
        "orders: started (4.0 MB)",
        "orders: 1,000 rows read, 1 quarantined, 200 rows/s, 200.0 kB/s, 25%, 15.0 s left",
        "orders: 2,000 rows read, 1 quarantined, 200 rows/s, 200.0 kB/s, 50%, 10.0 s left",
        "orders: succeeded, 3,000 rows read",
    ]


def test_json_progress_is_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    play(progress.JsonLines(Talk(), clock), clock)

    captured = capsys.readouterr()
    documents = [json.loads(line) for line in captured.err.splitlines()]
    assert captured.out == ""
    assert [document["event"] for document in documents] == [
        "run_started",
        "stream_started",
        "progress",
        "progress",
        "warning",
        "stream_finished",
        "run_finished",
    ]
    assert documents[3].items() >= {"rows_read": 2000, "rows_per_s": 200, "done": 0.5, "eta_s": 10.0}.items()


def test_the_bar_leaves_no_trace_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Bar() as bar:
        play(bar, Clock())

    assert capsys.readouterr().out == ""


def test_progress_without_totals_has_no_part_done_and_no_time_left() -> None:
    pace = progress.Pace(None, None, 0.0, 0.0)

    facts = pace.facts(at(1000, 0), 2.0)

    assert facts == {"rows_per_s": 500, "bytes_per_s": 0, "done": None, "eta_s": None}


def test_a_total_of_rows_serves_where_bytes_are_unknown() -> None:
    pace = progress.Pace(None, 4000, 0.0, 0.0)

    facts = pace.facts(at(1000, 0), 10.0)

    assert (facts["done"], facts["eta_s"]) == (0.25, 30.0)


@pytest.mark.parametrize(
    ("mode", "log_format", "is_terminal", "environ", "shown"),
    [
        pytest.param("auto", "text", True, {}, "bar", id="a terminal"),
        pytest.param("auto", "text", False, {}, "plain", id="a pipe"),
        pytest.param("auto", "text", True, {"CI": "true"}, "plain", id="a CI system's terminal"),
        pytest.param("auto", "text", True, {"TERM": "dumb"}, "plain", id="a terminal that cannot draw"),
        pytest.param("auto", "json", True, {}, "json", id="beside JSON logs"),
        pytest.param("none", "json", True, {}, "none", id="what is asked for goes first"),
    ],
)
def test_progress_fits_where_it_is_shown(
    mode: progress.Mode, log_format: str, is_terminal: bool, environ: dict[str, str], shown: str
) -> None:
    assert progress.chosen(mode, log_format=log_format, is_terminal=is_terminal, environ=environ) == shown
