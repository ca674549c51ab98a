"""Documents as text for people: pure functions, the same values that ``--json`` prints."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

COLUMNS_SHOWN = 5
"""How many columns of an object discover shows unless it is verbose."""

_FOR_MACHINES = frozenset({"traceback", "problems", "original_error", "original_message"})
"""Details that only JSON shows."""

_LINES = {"at": "at", "log": "|"}
"""Details of several lines, and what stands before each: where a plugin failed, and what it printed last."""

_WAY_IN = {"dns", "tcp", "tls", "authentication", "database"}
"""The steps from a server's name to a session."""
_MARKS = {"ok": "✓", "warn": "⚠", "fail": "✗", "skipped": "-"}
_STATUS_MARKS = {"succeeded": "✓", "no_data": "✓", "partial": "⚠", "cancelled": "⚠", "failed": "✗", "skipped": "-"}


def error_text(error: Mapping[str, Any]) -> str:
    """Show an error document: message, where it happened, code and hint."""
    return "\n".join([f"✗ {error['message']}", *_error_facts(error)])


def check_text(document: Mapping[str, Any], *, verbose: bool = False) -> str:
    """Show a check document: one line an end, and with ``verbose`` every step with its time.

    The ends are named where there is more than one.
    """
    lines: list[str] = []
    if document.get("error"):
        lines.append(error_text(document["error"]))
    ends = list(dict.fromkeys(check["end"] for check in document["checks"]))
    for end in ends:
        if len(ends) > 1:
            lines.append(end.capitalize())
        lines.extend(_end_lines([check for check in document["checks"] if check["end"] == end], verbose=verbose))
    return "\n".join(lines)


def _end_lines(steps: Sequence[Mapping[str, Any]], *, verbose: bool) -> Iterator[str]:
    failed = next((step for step in steps if step["status"] == "fail"), None)
    missing = next((step for step in steps if (step.get("details") or {}).get("implemented") is False), None)
    looked = [step for step in steps if step["status"] in {"ok", "warn"} and step["step"] != "configuration"]
    if failed is not None:
        error = failed.get("error") or {}
        what = "Plugin" if str(error.get("error_code")).startswith("PLUGIN_") else "Connection"
        yield f"✗ {what} failed: {error.get('message') or failed['message']}"
        yield from _error_facts({"details": failed.get("details"), **error})
    elif missing is not None:
        yield f"⚠ {missing['message']}"
        yield from _details(_without_flag(missing.get("details")))
    elif looked:
        # Of the way in, the last step says what was reached; those after it are about streams and tables.
        told = next((step for step in reversed(looked) if step["step"] in _WAY_IN), looked[0])
        yield f"✓ Connection successful: {told['message']}"
        yield from _details(told.get("details"))
        others = [step for step in looked if step is not told and step["status"] == "warn"]
        yield from (f"  ⚠ {step['step']}: {step['message']}" for step in others)
    else:
        yield "⚠ Connection test not implemented"
    if verbose:
        rows = [
            [f"  {_MARKS[step['status']]} {step['step']}", duration(step["duration_ms"]), step["message"] or ""]
            for step in steps
        ]
        yield from table(rows, right=(1,))


def _without_flag(details: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (details or {}).items() if key != "implemented"}


def discover_text(document: Mapping[str, Any], *, verbose: bool = False) -> str:
    """Show a discover document: what there is, with types; ``verbose`` shows every column and all that is known."""
    objects = document["objects"]
    metadata = _without_flag(document["metadata"])
    if not objects and document["metadata"].get("implemented") is False:
        return "⚠ Discovery not implemented by this source"
    lines = [f"✓ Discovery completed: found {counted(len(objects), 'object')}"]
    if metadata:
        lines += ["", "Source Metadata:", *(f"  {key}: {value}" for key, value in metadata.items())]
    if objects:
        lines += ["", "Available Objects:"]
    for item in objects:
        lines.extend(_object_lines(item, verbose=verbose))
    return "\n".join(lines)


def _object_lines(item: Mapping[str, Any], *, verbose: bool) -> Iterator[str]:
    yield f"  • {item['name']}"
    yield f"    Type: {item['type']}"
    if verbose:
        for label, value in (
            ("Description", item.get("description")),
            ("Namespace", item.get("namespace")),
            ("Estimated rows", item.get("estimated_rows")),
            ("Size", None if item.get("size_bytes") is None else size(item["size_bytes"])),
            ("Primary key", item.get("primary_key")),
            ("Cursor candidates", item.get("cursor_candidates")),
            ("Modes", item.get("sync_modes")),
        ):
            if value not in (None, [], ()):
                yield f"    {label}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
    columns = item.get("columns")
    if columns is None:
        return
    yield f"    Columns: {len(columns)}"
    shown = columns if verbose else columns[:COLUMNS_SHOWN]
    for column in shown:
        yield f"      - {column['name']}: {column['type']}{_column_facts(column) if verbose else ''}"
    if len(columns) > len(shown):
        yield f"      … {len(columns) - len(shown)} more (--verbose shows all)"


def _column_facts(column: Mapping[str, Any]) -> str:
    facts = [column["arrow_type"]] if column.get("arrow_type") and column["arrow_type"] != column["type"] else []
    if column.get("nullable") is False:
        facts.append("required")
    if column.get("fidelity") not in (None, "exact", "lossless"):
        facts.append(str(column["fidelity"]))
    return f" ({', '.join(facts)})" if facts else ""


def report_text(
    report: Mapping[str, Any],
    *,
    durations_ms: Mapping[str, float] | None = None,
    quarantine_tables: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Show a run's report: a line a stream, then warnings, then each error, then what to do next.

    Args:
        report: The report document.
        durations_ms: How long each stream took, where that is known.
        quarantine_tables: Where each stream's rejected rows are.
        notes: What else to say of the run as a whole.
    """
    mark = _STATUS_MARKS.get(report["status"], "✗")
    took = duration(_elapsed_ms(report))
    lines = [f"{mark} {report['job']}: {_words(report['status'])} in {took} (run {report['run_id']})"]
    streams = report["streams"]
    if streams:
        heads = ["", "Stream", "Status", "Read", "Written", "Quarantined", "Skipped", "Bytes", "Commit", "Gen", "Time"]
        rows = [heads, *(_stream_row(stream, (durations_ms or {}).get(stream["name"])) for stream in streams)]
        lines += ["", *table(rows, right=(3, 4, 5, 6, 7, 9, 10))]
    lines += [f"  {stream['name']}: {change}" for stream in streams for change in stream.get("schema_changes") or []]
    lines += [_plugin_line(plugin) for plugin in report.get("plugins") or () if plugin["usage"]["starts"]]
    told = [*(f"⚠ {warning}" for warning in report["warnings"]), *(f"⚠ {note}" for note in notes)]
    if told:
        lines += ["", *told]
    for error in report["errors"]:
        where = f"{error['stream']}: " if error.get("stream") else ""
        lines += ["", f"✗ {where}{error['message']}", *_error_facts(error)]
    following = list(_next_steps(report, quarantine_tables or {}))
    if following:
        lines += ["", *following]
    return "\n".join(lines)


def _plugin_line(plugin: Mapping[str, Any]) -> str:
    """Say how a plugin was held, and what it has used."""
    usage = plugin["usage"]
    used = f"{usage['cpu_s']:.1f} s of CPU, {size(usage['peak_memory_bytes'])} of memory"
    return f"  {plugin['end']} {plugin['name']} {plugin['version']}: {_held(plugin)}; {used}"


def _held(plugin: Mapping[str, Any]) -> str:
    """Say by what a plugin was kept from the machine, and which controls do less than they should."""
    if plugin["isolation"] == "none":
        return "a process of its own, no sandbox"
    lesser = [f"{control} {state}" for control, state in plugin["controls"].items() if state != "enforced"]
    return f"sandbox {plugin['isolation']}" + (f" ({', '.join(lesser)})" if lesser else "")


def _elapsed_ms(report: Mapping[str, Any]) -> float:
    started_at, ended_at = (datetime.fromisoformat(report[key]) for key in ("started_at", "ended_at"))
    return (ended_at - started_at).total_seconds() * 1000


def _stream_row(stream: Mapping[str, Any], duration_ms: float | None) -> list[str]:
    rows, commit = stream["rows"], stream.get("commit") or {}
    return [
        _STATUS_MARKS.get(stream["status"], "✗"),
        stream["name"],
        _words(stream["status"]),
        number(rows["read"]),
        number(rows["written"]),
        number(rows["quarantined"]),
        number(rows["skipped"]),
        size(stream.get("bytes")),
        str(commit.get("id") or "-")[-12:],
        str(commit.get("generation") or "-"),
        duration(duration_ms),
    ]


def _next_steps(report: Mapping[str, Any], quarantine_tables: Mapping[str, str]) -> Iterator[str]:
    for stream in report["streams"]:
        yield from _compared_keys(stream)
        rejected = stream["rows"]["quarantined"]
        if rejected and stream.get("commit") and stream["name"] in quarantine_tables:
            yield f"→ {stream['name']}: {counted(rejected, 'rejected row')} in {quarantine_tables[stream['name']]}"
    if report["status"] == "cancelled":
        yield "→ What is committed is consistent: run the same command to go on."
    elif report["retryable"]:
        yield "→ Trying again may help: run the same command."
    elif report["status"] in {"failed", "partial"}:
        yield "→ Trying again does not help before what the errors say is mended."


def _compared_keys(stream: Mapping[str, Any]) -> Iterator[str]:
    found = stream.get("delete_detection")
    if found is None or not found["absent"] or found["deletes"] is None:
        return
    became = "marked as deleted" if found["deletes"] == "soft" else "deleted"
    said = f"were {became}" if stream.get("commit") else f"would be {became}"
    shown = ", ".join(json.dumps(key, ensure_ascii=False) for key in found["examples"])
    yield (
        f"→ {stream['name']}: {number(found['absent'])} of {counted(found['table_rows'], 'row')} are gone from the "
        f"source and {said}{f': {shown}' if shown else ''}"
    )


def _error_facts(error: Mapping[str, Any]) -> Iterator[str]:
    message = str(error.get("message"))
    details = dict(error.get("details") or {})
    for key, before in _LINES.items():
        lines = details.get(key)
        if isinstance(lines, list):
            del details[key]
            yield from (f"  {before} {line}" for line in lines)
    known = {key: value for key, value in details.items() if value not in (None, [])}
    yield from _details({key: value for key, value in known.items() if str(value) not in message})
    if error.get("error_code"):
        yield f"  Error code: {error['error_code']}"
    if error.get("retry_after_s") is not None:
        yield f"  Retry after: {error['retry_after_s']:g} s"
    if error.get("hint"):
        yield f"  Hint: {error['hint']}"


def _details(details: Mapping[str, Any] | None) -> Iterator[str]:
    shown = {key: value for key, value in (details or {}).items() if key not in _FOR_MACHINES}
    if shown:
        yield f"  Details: {shown}"


def table(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Align cells in columns two spaces apart; the columns of ``right`` end together."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def number(value: int | None) -> str:
    """Show a count: ``1,234,567``, ``-`` where it is not known."""
    return "-" if value is None else f"{value:,}"


def counted(count: int, noun: str) -> str:
    """Show a count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(size_bytes: float | None) -> str:
    """Show bytes in decimal units: ``999 B``, ``1.5 kB``, ``2.3 GB``."""
    if size_bytes is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.5:  # noqa: PLR2004  1000 would round to 1000 kB
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def duration(duration_ms: float | None) -> str:
    """Show a time: ``12 ms``, ``3.4 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if duration_ms is None:
        return "-"
    if duration_ms < 1000:  # noqa: PLR2004  a second
        return f"{duration_ms:.0f} ms"
    seconds = duration_ms / 1000
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004  an hour
        return f"{minutes} min {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _words(status: str) -> str:
    return "no new data" if status == "no_data" else status
