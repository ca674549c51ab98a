"""Runs of one job that are stopped on their way, and what must hold of the table after each of them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import crash_zygote
import pyarrow as pa
import zygote
from crash_places import COLUMNS, JOB, PLACES, STREAM, Place

ROWS = 60
PARTS = 3
KEYS = 150
SIGKILLED = -9
FENCED, TRY_AGAIN, INTERRUPTED = 79, 75, 130
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: events
name: events
version: 1.0.0
status: active
schema:
  - name: events
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true}
      - {name: part, logicalType: string, required: true}
      - {name: label, logicalType: string, required: true}
"""

Point: TypeAlias = tuple[str, int]
Row: TypeAlias = tuple[Any, ...]


class Zygote(zygote.Zygote):
    """The process whose forks are the runs."""

    def scene(self, orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.ask(list(orders))
        return answer

    def run(self, config: Path, *, kill_after_s: float | None = None) -> tuple[int, float]:
        """Run any job as it is, killed after a time; give its exit code and how many seconds it took."""
        (config.parent / "tmp").mkdir(exist_ok=True)
        order = {
            "config": str(config),
            "small": False,
            "seams": [],
            "events": [],
            "at": None,
            "how": "kill",
            "kill_after_s": kill_after_s,
            "log": str(config.with_suffix(".log")),
            "tmp": str(config.parent / "tmp"),
            "together": 1,
            "meeting": "",
            "meet_at": "",
            "meet_before": False,
        }
        (answer,) = self.scene([order])
        assert not answer["hung"], f"a run hung: {order}"
        return int(answer["code"]), float(answer["seconds"])


@contextmanager
def hatched() -> Iterator[Zygote]:
    """Start the process; it ends with its input."""
    seams = [
        seam.partition(":")[0] for place in PLACES.values() for seam in (place.writer, *place.inside, *place.atomic)
    ]
    modules = [
        "dativo_ingest.run.engine",
        "dativo_ingest.run.open_job",
        "dativo_ingest.sources.csv",
        "encodings.ascii",
        "encodings.utf_8_sig",
        "numpy.ma",
        "open_data_contract_standard.model",
        "pyarrow.acero",
        "pyarrow.dataset",
        "pyarrow.fs",
        "pyiceberg.io.pyarrow",
        "pyiceberg.catalog.rest",
        "dativo_ingest.targets.iceberg.rest",
        *sorted(set(seams)),
    ]
    with zygote.hatched(crash_zygote.__file__, modules) as process:
        yield Zygote(process)


@dataclass
class Ended:
    """How a run ended."""

    code: int
    seconds: float
    report: dict[str, Any]
    points: list[str]
    errors: str

    @property
    def commit(self) -> dict[str, Any] | None:
        streams = self.report.get("streams", [])
        commit: dict[str, Any] | None = streams[0]["commit"] if streams else None
        return commit


def moments(passed: Sequence[str]) -> list[Point]:
    """Choose where to stop runs, from the points that one passed: each name the first and the last time.

    What comes right before a call that follows right after another one is the same moment as that one's end.
    """
    chosen = []
    for index, name in enumerate(passed):
        if index and name.startswith("before ") and passed[index - 1].startswith("after "):
            continue
        time = passed[: index + 1].count(name)
        if time in (1, passed.count(name)):
            chosen.append((name, time))
    return chosen


@dataclass(frozen=True)
class File:
    """A file of the source: its good rows, and the line of the one that is rejected."""

    rows: tuple[Row, ...]
    bad_line: int


@dataclass
class Scene:
    """One table, the files that go into it, and what has landed there.

    ``landed`` lists, for each commit that the table was seen to have taken, the round of files that was the newest.
    """

    zygote: Zygote
    place: Place
    write: str
    """How the stream lands, or ``diff``: merged, and what the files have no more goes by its key."""
    landed: list[int] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    """The ids of runs that did not get through."""
    _rounds: list[dict[str, File]] = field(default_factory=list)
    _runs: int = 0
    _stray: set[str] = field(default_factory=set)
    _seen: tuple[Counter[Row], str | None] = (Counter(), None)
    """What was rejected, and the last commit's id, at the last look."""

    def __post_init__(self) -> None:
        for name in ("data", "tmp", "log"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "events.odcs.yaml").write_text(CONTRACT)

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def replaces(self) -> bool:
        """Whether each load leaves nothing of the one before."""
        return self.write in {"overwrite", "diff"}

    @property
    def round(self) -> int:
        """The number of the newest round of files; they begin at 1."""
        return len(self._rounds)

    def add_round(self, files: int = 2) -> None:
        """Put new files beside the old ones, or in their place where each load replaces the one before."""
        data = self.folder / "data"
        if self.replaces:
            for path in data.iterdir():
                path.unlink()
        self._rounds.append({})
        for number in range(files):
            name = f"{self.round:04d}-{number}.csv"
            start = (self.round * 7 + number) * ROWS
            ids = [(start + each * 11) % KEYS if self.write == "merge" else start + each for each in range(ROWS)]
            rows = tuple((each, f"p{each % PARTS}", f"{name} {index}") for index, each in enumerate(ids))
            # Where keys count, a bad row has one: else nobody could say which rows are gone.
            bad = (-1 - number, "p0", None) if self.write == "diff" else (f"none {name}", "p0", "bad")
            draft = self.folder / "tmp.csv"
            with draft.open("w", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *rows, bad])
            draft.rename(data / name)
            self._rounds[-1][name] = File(rows, len(rows) + 2)

    def start(
        self,
        count: int = 1,
        *,
        at: Point | None = None,
        kill_after_s: float | None = None,
        how: str = "kill",
        apart: bool = False,
    ) -> list[Ended]:
        """Start runs together; the first of them stops at a point or after a time.

        Args:
            count: How many.
            at: The point that stops the first: its name, and at which passing.
            kill_after_s: The time after which the first is killed.
            how: ``kill`` or ``raise``, at a point.
            apart: Whether each has the job in a folder of its own: leases do not meet, and all begin at one state.
        """
        first = self._runs + 1
        meeting = self.folder / "meeting" / str(first)
        meeting.mkdir(parents=True)
        orders = [
            {
                "config": str(self._config(self.folder / f"copy-{index}" if apart else self.folder)),
                "small": True,
                "seams": self.place.seams,
                "events": list(self.place.events),
                "at": at if index == 0 else None,
                "how": how,
                "kill_after_s": kill_after_s if index == 0 else None,
                "log": str(self.folder / "log" / str(first + index)),
                "tmp": str(self.folder / "tmp"),
                "together": count if apart else 1,
                "meeting": str(meeting),
                "meet_at": self.place.load_state,
                "meet_before": self.place.one_at_a_time,
            }
            for index in range(count)
        ]
        self._runs += count
        ended = [self._ended(order, answer) for order, answer in zip(orders, self.zygote.scene(orders), strict=True)]
        if any(each.code == SIGKILLED for each in ended):
            self.place.settle()
        return ended

    def run(self) -> Ended:
        """Run the job once, undisturbed, and see that it gets through."""
        (ended,) = self.start()
        assert ended.code == 0, ended
        return ended

    # What must hold

    def look(self, *, runs: int = 1) -> int:
        """Find what runs have committed since the last look, and see that all of the table fits it; say how many.

        Each run may have committed once; what is appended or merged lands once, whoever does it.
        """
        state = self.place.state()
        new = state.generation - len(self.landed)
        most = runs if self.replaces else min(runs, int(self.round not in self.landed))
        assert 0 <= new <= most, f"from generation {len(self.landed)} to {state.generation}, at most {most} more"
        self.landed += [self.round] * new
        assert self._rows() == self._wanted_rows()
        self._seen = (self._rejected(), state.commit_id)
        # Where the quarantine is a table of its own, what the last commit rejected is published right after it.
        assert self._seen[0] in (self._wanted_rejects(self.landed), self._wanted_rejects(self.landed[:-1]))
        assert _read_files(state.state) == self._wanted_files()
        self._look_at_history(state.commit_id)
        return new

    def look_whole(self, ended: Ended) -> None:
        """See that a run that got through left everything whole: rows, quarantine, and nothing of its own to waste."""
        new = self.look()
        rejected, commit_id = self._seen
        assert self.landed[-1:] == [self.round]
        assert rejected == self._wanted_rejects(self.landed)
        commit = ended.commit
        assert (commit is not None) == bool(new)
        if commit is not None:
            assert commit["generation"] == len(self.landed)
            assert commit["id"] == commit_id
        self.look_for_stray_files(whole=True)

    def stray_files(self) -> set[str]:
        """List what no reader can come to; what readers come to must be there."""
        files, reachable = self.place.files(), self.place.reachable()
        assert reachable <= files, f"missing: {reachable - files}"
        return files - reachable

    def look_for_stray_files(self, *, whole: bool = False) -> None:
        """See that what no reader can come to was left by runs that failed, and by none that got through."""
        stray = self.stray_files()
        if whole:
            assert stray <= self._stray, stray - self._stray
        for file in stray - self._stray:
            assert self._is_named(file), f"{file} tells of no failed run ({self.failed})"
        self._stray = stray
        temporary = sorted(path.name for path in (self.folder / "tmp").iterdir())
        assert all(any(run in name for run in self.failed) for name in temporary), temporary
        job = {path.name for path in self.folder.iterdir() if not path.name.startswith(("copy-", "lake"))}
        assert job <= {"data", "tmp", "log", "meeting", "seen", "job.json", "events.odcs.yaml", ".dativo"}

    def _is_named(self, file: str) -> bool:
        if any(run in file for run in self.failed) or self.place.foreign(file):
            return True
        content = self.place.read(file) if file.endswith(".json") else b""
        return any(run.encode() in content for run in self.failed)

    def _rows(self) -> Counter[Row]:
        return _counted(self.place.rows(), COLUMNS)

    def _rejected(self) -> Counter[Row]:
        return _counted(self.place.rows(f"{STREAM}__quarantine"), ["source", "line"], named=True)

    def _wanted_rows(self) -> Counter[Row]:
        rounds = self.landed[-1:] if self.replaces else sorted(set(self.landed))
        rows = [row for number in rounds for file in self._rounds[number - 1].values() for row in file.rows]
        return Counter({row[:2]: row for row in rows}.values() if self.write == "merge" else rows)

    def _wanted_rejects(self, landed: Sequence[int]) -> Counter[Row]:
        return Counter((name, file.bad_line) for number in landed for name, file in self._rounds[number - 1].items())

    def _wanted_files(self) -> set[str]:
        rounds = self.landed[-1:] if self.replaces else self.landed
        return {name for number in rounds for name in self._rounds[number - 1]}

    def _look_at_history(self, commit_id: str | None) -> None:
        history = self.place.history()
        if history is None:
            return
        assert [generation for generation, _ in history] == list(range(1, len(self.landed) + 1))
        ids = [each for _, each in history]
        assert len(set(ids)) == len(ids)
        assert ids[-1:] == ([commit_id] if commit_id else [])

    def _config(self, folder: Path) -> Path:
        """Write the job into a folder; all copies share data and table."""
        target = self.place.target()
        for key in ("warehouse", "path"):
            value = target["connection"].get(key)
            if value is not None and "://" not in value:
                target["connection"][key] = str(self.folder / value)
        stream: dict[str, Any] = {"contract": str(self.folder / "events.odcs.yaml"), "path": str(self.folder / "data")}
        write = "merge" if self.write == "diff" else self.write
        stream |= {"mode": "full_refresh" if self.replaces else "incremental", "write": write}
        if self.place.partitioned:
            stream["partition_by"] = ["part"]
        if write == "merge":
            stream["primary_key"] = ["id", "part"]
        if self.write == "diff":
            stream["delete_detection"] = {"mode": "key_diff", "every": 0, "max_deleted_share": 1}
        job = {
            "version": 1,
            "name": JOB,
            "source": {"connector": "csv"},
            "target": target,
            "streams": {STREAM: stream},
        }
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "job.json"
        config.write_text(json.dumps(job))
        return config

    def _ended(self, order: dict[str, Any], answer: dict[str, Any]) -> Ended:
        assert not answer["hung"], f"a run hung: {order}"
        log = Path(order["log"])
        named, errors = log.with_suffix(".run"), Path(f"{log}.err")
        run_id = named.read_text() if named.exists() else None
        found = json.loads(log.read_text()) if log.exists() else {"report": {}, "points": []}
        if answer["code"] and run_id:
            self.failed.add(run_id)
        return Ended(
            answer["code"],
            answer["seconds"],
            found["report"],
            found["points"],
            errors.read_text() if errors.exists() else "",
        )


def _counted(table: pa.Table, columns: Sequence[str], *, named: bool = False) -> Counter[Row]:
    if not table.num_rows:
        return Counter()
    rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
    return Counter((Path(row[0]).name, *row[1:]) if named else row for row in rows)


def _read_files(state: Any) -> set[str]:
    return {Path(file).name for file in state["files"]} if state is not None else set()
