"""Runs of a job between a reader plugin and a writer plugin, some of them killed, and what must hold after each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plugin_zygote
import writer_plugins
import zygote
from counting_reader import row

ROWS = 250
UNKNOWN = "COMMIT_STATE_UNKNOWN"
_PLUGINS = Path(__file__).parent / "plugins"
_MODULES = ("dativo_ingest.run.engine", "dativo_ingest.run.open_job", "dativo_ingest.plugin_process.remote_reader")


class Zygote(zygote.Zygote):
    """The process whose forks are the runs."""

    def be(self, order: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask(order)
        return answer


@contextmanager
def hatched() -> Iterator[Zygote]:
    """Start the process; it ends with its input."""
    with zygote.hatched(plugin_zygote.__file__, _MODULES) as process:
        yield Zygote(process)


@dataclass
class Ended:
    """How a run ended."""

    code: int
    seconds: float
    struck: list[str]
    report: dict[str, Any] | None
    errors: str

    @property
    def error_code(self) -> str | None:
        """The code of its first error."""
        errors = self.report["errors"] if self.report else []
        return errors[0]["error_code"] if errors else None


@dataclass
class Scene:
    """One table and the plugins that fill it."""

    zygote: Zygote
    folder: Path
    writer: str
    count: int = 0
    _runs: int = 0
    _seen: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in ("lake", "tmp", "log"):
            (self.folder / name).mkdir(parents=True)
        pauses = {"pause_s": 0.002}
        job = {
            "version": 1,
            "name": "kills",
            "source": {
                "connector": f"{_PLUGINS / 'counting_reader.py'}:CountingReader",
                "connection": {"path": str(self.folder / "count")},
                "options": pauses,
            },
            "target": {
                "connector": f"{_PLUGINS / 'writer_plugins.py'}:{self.writer}",
                "connection": {"path": str(self.folder / "lake")},
                "options": pauses,
            },
            "streams": {"events": {"mode": "incremental", "on_bad_row": "quarantine"}},
        }
        (self.folder / "job.json").write_text(json.dumps(job))

    def add_round(self) -> None:
        """Let there be more to read."""
        self.count += ROWS
        (self.folder / "count").write_text(str(self.count))

    def run(self, *, kill_after_s: float | None = None, victim: str | None = None) -> Ended:
        """Run the job; it, or a plugin of its, is killed after a time. Nothing may be left of it."""
        self._runs += 1
        log = self.folder / "log" / str(self._runs)
        order = {
            "config": str(self.folder / "job.json"),
            "seams": [],
            "events": [],
            "at": None,
            "how": "kill",
            "kill_after_s": kill_after_s,
            "victim": victim,
            "log": str(log),
            "tmp": str(self.folder / "tmp"),
            "together": 1,
            "small": True,
        }
        answer = self.zygote.be(order)
        told = Path(f"{log}.err")
        errors = told.read_text() if told.exists() else ""  # it may have been killed before it was there
        assert not answer["hung"], errors
        assert answer["left"] == [], (answer, errors)
        report = json.loads(log.read_text())["report"] if log.exists() else None
        return Ended(answer["code"], answer["seconds"], answer["struck"], report, errors)

    def ids(self) -> Counter[int]:
        """Count the rows that a reader of the table sees, by their ids."""
        return Counter(item["id"] for item in self._rows("events"))

    def rejected(self) -> Counter[str]:
        """Count the rejected rows."""
        return Counter(json.loads(item["row"])["label"] for item in self._rows("events__quarantine"))

    def look(self, ended: Ended) -> None:
        """See that what has landed is what was said, and nothing of it twice where that is promised."""
        ids = self.ids()
        if self.is_exact:
            assert set(ids.values()) <= {1}, ids.most_common(3)
            assert set(self.rejected().values()) <= {1}
        if ended.report is None or ended.report["status"] == "succeeded":
            assert ended.report is None or set(ids) == set(self._wanted()[0])
        elif self.writer == "LedgerWriter" and ended.error_code != UNKNOWN:
            assert ids == self._seen
        self._seen = ids

    def look_whole(self, ended: Ended) -> None:
        """See that a run that got through brought the rest."""
        assert ended.code == 0, (ended.report, ended.errors)
        assert ended.report is not None
        assert ended.report["delivery"] == ("exactly_once" if self.is_exact else "at_least_once")
        self.look(ended)
        ids, rejected = self._wanted()
        assert set(self.ids()) == set(ids)
        assert set(self.rejected()) == set(rejected)

    @property
    def is_exact(self) -> bool:
        """Whether the writer promises that no row lands twice."""
        return self.writer != "DictWriter"

    def _wanted(self) -> tuple[list[int], list[str]]:
        rows = [row(number) for number in range(self.count)]
        bad = [each["label"] for each in rows if isinstance(each["id"], str)]
        return [each["id"] for each in rows if isinstance(each["id"], int)], bad

    def _rows(self, table: str) -> list[dict[str, Any]]:
        lake = self.folder / "lake"
        if self.writer == "LedgerWriter":
            name, _, beside = table.partition("__")
            return writer_plugins.ledger(lake, name, rejected=bool(beside))
        found = writer_plugins.pickled(lake, table)
        return [item for batch in found for item in (batch if isinstance(batch, list) else batch.to_pylist())]
