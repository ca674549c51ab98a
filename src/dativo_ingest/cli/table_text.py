"""What `dativo table` prints for people: pure functions of the document that ``--json`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dativo_ingest.cli.text import counted, number, size, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILES_SHOWN = 20


def table_text(document: Mapping[str, Any]) -> str:
    """Show a table document: health as a table with advice, anything else as a line for each table."""
    tables = document["tables"]
    there = [each for each in tables if each["result"] is not None]
    lines: list[str] = []
    if document["action"] == "health" and there:
        lines += table(_health_rows(there), right=tuple(range(1, 11)))
        lines += [f"→ {each['table']}: {said}" for each in there for said in each["advice"]]
    elif document["action"] != "health":
        for each in there:
            lines += _done_lines(document["action"], each, dry_run=document["dry_run"])
    lines += [f"- {each['stream']}: no table yet" for each in tables if each["table"] is None]
    lines += [f"✗ {each['table']}: {each['error']['error_code']}" for each in tables if each["error"] is not None]
    if document["dry_run"]:
        lines.append("⚠ dry run: nothing was changed")
    return "\n".join(lines)


def _health_rows(tables: list[Mapping[str, Any]]) -> Iterator[list[str]]:
    yield ["Table", "Rows", "Files", "Small", "Bytes", "Delete files", "Deleted", "Snapshots", "Oldest", "Manifests"]
    for each in tables:
        found = each["result"]
        stored = found["rows"] + found["deleted_rows"]
        share = found["deleted_rows"] / stored if stored else 0.0
        yield [
            each["table"],
            number(found["rows"]),
            number(found["files"]),
            number(found["small_files"]),
            size(found["bytes"]),
            number(found["delete_files"]),
            f"{share:.1%}",
            number(found["snapshots"]),
            str(found["oldest_snapshot_at"] or "-")[:10],
            number(found["manifests"]),
        ]


def _done_lines(action: str, each: Mapping[str, Any], *, dry_run: bool) -> Iterator[str]:
    done = each["result"]
    yield f"{'-' if dry_run else '✓'} {each['table']}: {done_text(action, done, dry_run=dry_run)}"
    if action == "orphans":
        shown = done["files"][:_FILES_SHOWN] if dry_run else []
        yield from (f"    {path}" for path in shown)
        if len(done["files"]) > len(shown) > 0:
            yield f"    … {len(done['files']) - len(shown)} more (--json shows all)"


def done_text(action: str, done: Mapping[str, Any], *, dry_run: bool = False) -> str:
    """Say in a line what became of a table."""
    match action:
        case "compact":
            return _compacted(done, dry_run=dry_run)
        case "expire":
            return _expired(done, dry_run=dry_run)
        case _:
            return _swept(done, dry_run=dry_run)


def _compacted(done: Mapping[str, Any], *, dry_run: bool) -> str:
    left = f", {counted(done['left'], 'file')} left to a run that changed them" if done["left"] else ""
    facts = []
    if done["files_removed"]:
        become = "would become" if dry_run else "became"
        facts.append(
            f"{counted(done['files_removed'], 'file')} ({size(done['bytes_removed'])}) {become} "
            f"{number(done['files_added'])} ({'about ' if dry_run else ''}{size(done['bytes_added'])})"
        )
    if done["delete_files_removed"]:
        facts.append(f"{counted(done['delete_files_removed'], 'delete file')} dropped")
    if done["manifests_removed"] and not done["files_removed"]:
        facts.append(f"{counted(done['manifests_removed'], 'manifest')} fewer")
    return (", ".join(facts) or "nothing to compact") + left


def _expired(done: Mapping[str, Any], *, dry_run: bool) -> str:
    if not (done["snapshots_removed"] or done["files_removed"]):
        return f"nothing to expire, {counted(done['snapshots_kept'], 'snapshot')} kept"
    failed = f", {number(done['failed'])} of them could not be deleted" if done["failed"] else ""
    return (
        f"{counted(done['snapshots_removed'], 'snapshot')} {'would go' if dry_run else 'gone'}, "
        f"{number(done['snapshots_kept'])} kept; {counted(done['files_removed'], 'data file')} "
        f"({size(done['bytes_removed'])}) and {counted(done['metadata_files_removed'], 'metadata file')} "
        f"{'would be deleted' if dry_run else 'deleted'}{failed}"
    )


def _swept(done: Mapping[str, Any], *, dry_run: bool) -> str:
    young = f", {number(done['young'])} too young" if done["young"] else ""
    failed = f", {number(done['failed'])} could not be deleted" if done["failed"] else ""
    if not done["files"]:
        return f"no orphans{young}"
    verb = "would be deleted" if dry_run else "deleted"
    return f"{counted(len(done['files']), 'orphan')} ({size(done['bytes'])}) {verb}{young}{failed}"
