"""A new job and what belongs to it, made from a few answers and a look at the data."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dativo_ingest.cli.scaffold import (
    CONTRACT_ENDING,
    Files,
    StreamFound,
    contract_text,
    distinct,
    file_name,
    flow_mapping,
    moved,
    scalar,
)
from dativo_plugin_sdk.errors import DataNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_PACKED = (".gz", ".zst")
_NOT_IDENTIFIER = re.compile(r"\W+", re.ASCII)

SAMPLE_PATH = "data/orders.csv"
SAMPLE = """\
order_id,customer,amount,paid,ordered_at
1,Ada,19.90,true,2026-01-05T09:12:00Z
2,Grace,5.00,false,2026-01-05T10:30:00Z
3,Edsger,149.99,true,2026-01-06T08:01:00Z
4,Barbara,,true,2026-01-06T17:45:00Z
5,Alan,42.50,false,2026-01-07T12:00:00Z
"""


@dataclass(frozen=True)
class Answers:
    """What a new job is about; ``path`` is empty for the sample, and like ``warehouse`` relative to ``folder``."""

    name: str
    source: str
    path: str
    target: str
    warehouse: str
    folder: Path


@dataclass(frozen=True)
class Made:
    """Files that are not written yet, and what to say about them."""

    files: Files
    notes: list[str]


def guessed_source(path: str) -> str:
    """Tell the format from how a path ends; csv where it does not tell."""
    name = path.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return next((source for suffix, source in _SUFFIXES.items() if name.endswith(suffix)), "csv")


def guessed_warehouse(target: str) -> str:
    """Give where a target keeps its tables unless told."""
    return "warehouse.duckdb" if target == "duckdb" else "./warehouse"


def guessed_name(folder: str) -> str:
    """Name a job after its folder."""
    return _identifier(Path(folder).resolve().name)


def new_job(answers: Answers) -> Made:
    """Look at the data and make the job, its contracts and what belongs to it; nothing is written into the folder.

    Raises:
        DativoError: The data is there and cannot be read.
    """
    files, notes = Files(answers.folder), []
    path = answers.path or SAMPLE_PATH
    if not answers.path and not (answers.folder / SAMPLE_PATH).exists():
        files.texts[SAMPLE_PATH] = SAMPLE
    try:
        streams, doubts = _look(answers, path, sample=SAMPLE_PATH in files.texts)
        notes += doubts
    except DataNotFoundError as error:
        notes.append(f"{error}: the job has no contract yet; dativo discover --write-assets writes it from the data")
        streams = []
    for stream in streams:
        files.texts[_contract_path(stream.name)] = contract_text(stream)
    files.texts["job.yaml"] = _job_text(answers, path, streams)
    files.texts[".env.example"] = _env_text(answers)
    files.texts["schemas/job.schema.json"] = _schema_text()
    return Made(files, notes)


def _look(answers: Answers, path: str, *, sample: bool) -> tuple[list[StreamFound], list[str]]:
    """Find the streams, one for all files where they have the same columns, else one a file, and the doubts."""
    from dativo_ingest.run.discovery import discover_job
    from dativo_ingest.run.ends import open_source
    from dativo_ingest.run.open_job import open_job
    from dativo_plugin_sdk.streams import StreamSpec

    with tempfile.TemporaryDirectory(prefix="dativo-init-") as temporary:
        here = Path(temporary)
        if sample:
            absolute = str(here / "sample.csv")
            Path(absolute).write_text(SAMPLE, encoding="utf-8")
        else:
            absolute = path if "://" in path else str(answers.folder.resolve() / path)
        probe = {
            "version": 1,
            "name": "init",
            "source": {"connector": answers.source, "connection": {"path": absolute}},
            "target": {"connector": "parquet", "connection": {"path": str(here / "never-written")}},
        }
        (here / "job.yaml").write_text(json.dumps(probe), encoding="utf-8")  # JSON is YAML
        loaded = open_job(here / "job.yaml", {})
        document = discover_job(loaded)
        objects = [item for item in document["objects"] if item["columns"]]
        shapes = {tuple(column["name"] for column in item["columns"]) for item in objects}
        with open_source(loaded) as source:
            if len(shapes) == 1:
                name = stream_name(path)
                return [StreamFound(name, source.reader.schema(StreamSpec(name=name)))], document["warnings"]
            streams = [
                StreamFound(
                    name,
                    source.reader.schema(StreamSpec(name=item["name"], options={"path": item["path"]})),
                    moved(item["path"], answers.folder.resolve(), answers.folder.resolve()),
                )
                for item, name in zip(objects, distinct(_identifier(item["name"]) for item in objects), strict=True)
            ]
            return streams, document["warnings"]


def stream_name(path: str) -> str:
    """Name the stream of a path: what stands before the wildcard, else the folder's name.

    ``data/orders.csv.gz`` and ``data/orders_*.csv`` are ``orders``, ``data/*.csv`` and ``data/`` are ``data``.
    """
    parts = [
        part for part in path.rstrip("/").split("/") if part not in {"", ".", "..", "**"} and not part.endswith(":")
    ]
    while parts:
        stem = re.split(r"[*?\[]", parts.pop())[0].strip("._-")
        stem = stem.split(".")[0]
        if stem:
            return _identifier(stem)
    return "rows"


def _identifier(text: str) -> str:
    name = _NOT_IDENTIFIER.sub("_", text).strip("_").lower()
    return name if name and not name[0].isdigit() else f"t_{name}".rstrip("_")


def _contract_path(stream: str) -> str:
    return f"assets/{file_name(stream)}{CONTRACT_ENDING}"


def _job_text(answers: Answers, path: str, streams: Sequence[StreamFound]) -> str:
    warehouse_key = "warehouse" if answers.target == "iceberg" else "path"
    namespace = [] if answers.target == "parquet" else ["  namespace: raw"]
    lines = [
        "# yaml-language-server: $schema=schemas/job.schema.json",
        "version: 1",
        f"name: {scalar(answers.name)}",
        "source:",
        f"  connector: {answers.source}",
        f"  connection: {flow_mapping({'path': path})}",
        "target:",
        f"  connector: {answers.target}",
        f"  connection: {flow_mapping({warehouse_key: '${env:WAREHOUSE:-' + answers.warehouse + '}'})}",
        *namespace,
        "defaults:",
        "  mode: incremental # new files only; full_refresh replaces the table each time",
        "  on_bad_row: quarantine # a bad row goes to <table>__quarantine, with the reason",
        "streams:",
    ]
    if not streams:
        lines.append(f"  {stream_name(path)}: {{}}")
    for stream in streams:
        settings = {"path": stream.path} if stream.path else {}
        lines.append(f"  {scalar(stream.name)}: {flow_mapping({**settings, 'contract': _contract_path(stream.name)})}")
    return "\n".join(lines) + "\n"


def _env_text(answers: Answers) -> str:
    return (
        "# What job.yaml takes from the environment. Copy to .env and load it: set -a; . ./.env; set +a\n"
        "# A secret is referred to in the job as ${env:NAME} or ${secret:NAME}, never written there.\n"
        f"WAREHOUSE={answers.warehouse}\n"
    )


def _schema_text() -> str:
    from dativo_ingest.cli.schema import document

    return json.dumps(document("job"), indent=2, ensure_ascii=False) + "\n"
