"""What `dativo doctor` prints for people: a pure function of the document that ``--json`` prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dativo_ingest.cli.text import counted, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_OUTCOMES = {"blocked": "✓", "through": "✗", "unproven": "⚠"}


def doctor_text(document: Mapping[str, Any], *, verbose: bool = False) -> str:
    """Show what the machine has, and each back end with its controls; with ``verbose`` every attempt."""
    lines = list(_machine_lines(document["machine"]))
    for backend in document["backends"]:
        lines += ["", *_backend_lines(backend, verbose=verbose)]
    if document["default"] == "none":
        lines += ["", "⚠ the default is none: plugins whose code is trusted run without a sandbox"]
    return "\n".join(lines)


def _machine_lines(machine: Mapping[str, Any]) -> Iterator[str]:
    user = "root" if machine["user"] == 0 else f"user {machine['user']}"
    yield (
        f"Dativo {machine['dativo']}, Python {machine['python']}, Linux {machine['kernel']} {machine['architecture']}, "
        f"as {user}"
    )
    bubblewrap, engine = machine["bubblewrap"], machine["engine"]
    groups = machine["cgroup"] or {}
    held = [f"{name} (v{found})" for name, found in groups.items() if found]
    rows = [
        ("bubblewrap", "none" if bubblewrap is None else f"{bubblewrap['version']}, {bubblewrap['path']}"),
        ("user namespaces", "none" if not machine["user_namespaces"] else f"up to {machine['user_namespaces']}"),
        ("seccomp", machine["seccomp"] or "none"),
        ("Landlock", "none" if machine["landlock"] is None else f"version {machine['landlock']}"),
        ("control groups", ", ".join(held) or "none that can be written"),
        ("container engine", "none" if engine is None else _engine_text(engine)),
    ]
    yield from (f"  {line}" for line in table(rows))


def _engine_text(engine: Mapping[str, Any]) -> str:
    rootless = ", rootless" if engine["rootless"] else ""
    runtimes = ", ".join(engine["runtimes"])
    return f"{engine['kind']} {engine['version']} at {engine['socket']}{rootless}; runtimes {runtimes}"


def _backend_lines(backend: Mapping[str, Any], *, verbose: bool) -> Iterator[str]:
    name = f"{backend['name']}{' (the default)' if backend['default'] else ''}"
    if backend["error"] is not None:
        yield f"✗ {name}: {backend['error']['message']}"
        yield from _remedies([(backend["name"], backend["error"]["hint"])])
        return
    mark, said = ("✓", "holds all that it must") if backend["works"] else ("✗", "does not hold all that it must")
    yield f"{mark} {name}: {said}, isolation {backend['isolation']}"
    width = max(len(each["control"]) for each in backend["controls"])
    for each in backend["controls"]:
        yield from _control_lines(each, width, verbose=verbose)
    yield from _remedies(
        [(each["control"], each["remedy"]) for each in backend["controls"] if each["state"] != "enforced"]
    )


def _control_lines(control: Mapping[str, Any], width: int, *, verbose: bool) -> Iterator[str]:
    mark = "✗" if not control["enough"] else ("✓" if control["state"] == "enforced" else "⚠")
    state = "" if control["state"] == "enforced" else f"{control['state']}: "
    tried = control["tried"]
    proof = f"  ({_proof(tried)})" if tried and not verbose else ""
    yield f"  {mark} {control['control']:<{width}}  {state}{control['how']}{proof}"
    if verbose:
        for each in tried:
            why = f": {each['why']}" if each["why"] else ""
            yield f"      {_OUTCOMES[each['outcome']]} {each['attempt']}: {each['outcome']}{why}"


def _proof(tried: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(each["outcome"] for each in tried)
    return ", ".join(f"{counted(counts[each], 'attempt')} {each}" for each in _OUTCOMES if counts[each])


def _remedies(wanted: Sequence[tuple[str, str | None]]) -> Iterator[str]:
    """Show what to do about several controls, each thing once."""
    for remedy in dict.fromkeys(text for _, text in wanted if text is not None):
        yield f"  → {', '.join(name for name, text in wanted if text == remedy)}: {remedy}"
