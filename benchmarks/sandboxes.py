"""Benchmarks of the sandboxes that plugins run in, each beside the same plugin without one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contenders import Benchmark, Case
from environments import HERE, ROOT, python_of, rows_arrow
from plugins import run_of

sys.path.append(str(ROOT / "tests" / "support"))

import bubblewrap
import container_engines

_PEERS = HERE / "peers"
_READERS = _PEERS / "plugin_readers.py"
_Command = Callable[[Path], Sequence[str | Path]]
_CPU = Path("/sys/fs/cgroup/cpuacct")


@dataclass(frozen=True)
class Sandboxes:
    """What a policy says of each sandbox, by the names of the cases, and where the engines' processes are counted."""

    policies: Mapping[str, Mapping[str, object]]
    cgroups: Sequence[Path]

    def cpu_s(self) -> float:
        """Tell what the engines and all their containers have taken; those are nobody's children."""
        return sum(int((each / "cpuacct.usage").read_text(encoding="ascii")) for each in self.cgroups) / 1e9


@contextlib.contextmanager
def _policies(_scale: float) -> Iterator[Sandboxes]:
    """Let bubblewrap and the engines be found for as long as they are measured."""
    bubblewrap.put_on_path()
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(container_engines.running(name)) for name in ("docker", "podman")]
        policies = {
            "none": {"backend": "none"},
            "process": {"backend": "process"},
            **{
                f"container, {each.name}": {"backend": "container", "engine": each.url, "image": each.image}
                for each in engines
            },
        }
        yield Sandboxes(policies, [_CPU / f"{each.socket.parent.parent.name}-{each.name}" for each in engines])


def _peer(what: str, sandbox: Mapping[str, object] | None, file: Path) -> _Command:
    written = json.dumps(sandbox)
    return lambda _folder: [python_of("dativo"), _PEERS / "sandboxed.py", what, written, file]


def _start(_scale: float, sandboxes: Sandboxes) -> list[Case]:
    file = rows_arrow(0.01, "random")
    return [
        Case("bare subprocess", _peer("start", None, file)),
        *(Case(name, _peer("start", sandbox, file)) for name, sandbox in sandboxes.policies.items()),
    ]


def _plane(scale: float, sandboxes: Sandboxes) -> list[Case]:
    file = rows_arrow(scale, "random")
    return [Case(name, _peer("read", sandbox, file)) for name, sandbox in sandboxes.policies.items()]


def _arrow(scale: float, sandboxes: Sandboxes) -> list[Case]:
    file = rows_arrow(scale, "random")
    hashed = [python_of("dativo"), _PEERS / "sandboxed.py", "hash"]
    trusted = f"sha256:{subprocess.run(hashed, capture_output=True, text=True, check=True).stdout.strip()}"

    def job(sandbox: Mapping[str, object]) -> _Command:
        def command(folder: Path) -> Sequence[str | Path]:
            terms = {
                "sandbox": sandbox,
                "filesystem": {"read": "any"},
                "plugins": {"trusted": [trusted]},
                "resources": {"memory": "4Gi", "cpu": 2},  # what the manifest asks for
            }
            policy = folder / "policy.yaml"
            policy.write_text(json.dumps({"version": 1, "defaults": terms}), encoding="utf-8")
            return [*run_of(f"{_READERS}:ArrowPlugin", {"path": str(file)})(folder), "--policy", policy]

        return command

    return [Case(name, job(sandbox), rows=round(6_000_000 * scale)) for name, sandbox in sandboxes.policies.items()]


_HELD = ("process", "container, docker", "container, podman")
SANDBOXES = {
    "sandbox-start": Benchmark(
        "A plugin's process, until it is imported and configured",
        "bare subprocess",
        "wall",
        {},
        _start,
        inside=True,
        serve=_policies,
        limits_above_floor_s={"process": 0.15, "container, docker": 1.5, "container, podman": 1.5},
    ),
    "sandbox-data-plane": Benchmark(
        "6,000,000 rows of ten columns from a plugin, received and dropped",
        "none",
        "cpu",
        {},
        _plane,
        inside=True,
        serve=_policies,
        at_least={name: {"GB/s": 0.5} for name in _HELD},
    ),
    "sandbox-arrow": Benchmark(
        "6,000,000 rows of ten columns, mapped into memory by the plugin → Parquet",
        "none",
        "cpu",
        dict.fromkeys(_HELD, 1.1),
        _arrow,
        serve=_policies,
    ),
}
