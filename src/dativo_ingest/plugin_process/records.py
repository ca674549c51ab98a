"""What a plugin's processes did in one command, noted while they run, for the report and the audit log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.controls import State, states_of
from dativo_ingest.sandbox.egress.record import EGRESS_DENIED, summed
from dativo_ingest.sandbox.endings import limit_of
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.levels import Isolation
from dativo_plugin_sdk.errors import get_error_code

End: TypeAlias = Literal["source", "target"]
Outcome: TypeAlias = Literal["ok", "failed", "killed"]


@dataclass(frozen=True)
class ProcessUsage:
    """What one process, and all that it started, has used.

    Attributes:
        cpu_s: Seconds of processors, user and system together.
        peak_memory_bytes: The most memory that the largest of its processes had.
        processes: How many processes there were.
        bytes_in: What the plugin was sent.
        bytes_out: What the plugin has sent.
        duration_s: From its start to its end.
        exit_code: What it ended with; None where a signal ended it, or it is not known.
        signal: The signal that ended it.
        killed: Why the engine ended it; None where it ended by itself, or when asked to.
        throttled_s: How long it had to wait for its part of the processors.
        refused_processes: How often it was refused another process or thread.
    """

    cpu_s: float
    peak_memory_bytes: int
    processes: int
    bytes_in: int
    bytes_out: int
    duration_s: float
    exit_code: int | None = None
    signal: str | None = None
    killed: str | None = None
    throttled_s: float = 0.0
    refused_processes: int = 0


@dataclass(frozen=True)
class Started:
    """A process starts, held as far as its ``isolation`` says."""

    isolation: Isolation


@dataclass(frozen=True)
class Ended:
    """A process is gone, with all that it started."""

    usage: ProcessUsage


@dataclass(frozen=True)
class Limited:
    """A plugin met a limit, or did what it may not.

    Attributes:
        limit: As a manifest names it (``memory``), or ``system_calls``.
        error_code: The code of the error that came of it; None where the plugin went on.
        details: What the error says of it.
    """

    limit: str
    error_code: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Reached:
    """A plugin talked to a host.

    Attributes:
        host: The host with its port.
        facts: How often, at which addresses, and how many bytes went and came.
    """

    host: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Denied:
    """A plugin wanted to talk to a host and was not let.

    Attributes:
        host: The host, with its port where it is known.
        times: How often.
        facts: Why not, and what would allow it.
    """

    host: str
    times: int
    facts: Mapping[str, Any]


Note: TypeAlias = Started | Ended | Limited | Reached | Denied


@dataclass
class PluginRecord:
    """What is said of one end's plugin; safe to fill from several threads.

    Attributes:
        end: Which end of the job it is.
        name: What it is called: `FoundPlugin.title`.
        version: Its version.
        sha256: The hash of its code.
        grant: What it may do.
        isolation: How far it is kept from the machine.
        controls: What each control of its sandbox comes to.
        sdk: The release of the SDK that it said it runs with; None for one that uses none, or never spoke.
        protocol: The version of the protocol that was agreed on.
        language: What it said it is written in.
    """

    end: End
    name: str
    version: str
    sha256: str
    grant: Grant
    isolation: Isolation = "none"
    controls: Mapping[str, State] = field(default_factory=dict)
    sdk: str | None = None
    protocol: int | None = None
    language: str | None = None
    processes: list[ProcessUsage] = field(default_factory=list)
    starts: int = 0
    error_code: str | None = None
    tell: Callable[[Note], None] = field(default=lambda _: None, repr=False, compare=False)
    """Told what happens, by whichever thread it happens in."""
    _networks: list[Mapping[str, Any]] = field(default_factory=list, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def of(cls, end: End, plugin: FoundPlugin, grant: Grant, confinement: Confinement) -> PluginRecord:
        """Begin the record of a plugin that is held by a back end."""
        controls = states_of(confinement.findings)
        return cls(
            end, plugin.title, plugin.version, plugin.sha256, grant, isolation=confinement.isolation, controls=controls
        )

    def started(self) -> None:
        """Note that a process starts."""
        with self._lock:
            self.starts += 1
        self.tell(Started(self.isolation))

    def named(self, version: str) -> None:
        """Note the version that it says it has, now that it is imported."""
        with self._lock:
            self.version = version

    def greeted(self, *, sdk: str | None, protocol: int, language: str | None) -> None:
        """Note what a process said of itself when it was welcomed."""
        with self._lock:
            self.sdk, self.protocol, self.language = sdk, protocol, language

    def ended(self, usage: ProcessUsage) -> None:
        """Note that a process is gone, with all that it started."""
        with self._lock:
            self.processes.append(usage)
        if usage.refused_processes and usage.killed is None and self.error_code is None:
            self.tell(Limited("pids", None, {"pids": self.grant.pids, "times": usage.refused_processes}))
        self.tell(Ended(usage))

    def failed(self, error: BaseException) -> None:
        """Note an error of the plugin's, or of its process; the first one counts."""
        with self._lock:
            self.error_code = self.error_code or get_error_code(error)
        limit = limit_of(error)
        if limit is not None:
            self.tell(Limited(limit, get_error_code(error), getattr(error, "details", {})))

    def reached(self, network: Mapping[str, Any]) -> None:
        """Note what a process did in the network.

        Args:
            network: ``hosts``, each with how much went there and came from there, and what was ``denied``.
        """
        with self._lock:
            self._networks.append(network)
        for each in network["hosts"]:
            self.tell(Reached(each["host"], {key: value for key, value in each.items() if key != "host"}))
        for each in network["denied"]:
            facts = {key: value for key, value in each.items() if key not in {"host", "times"}}
            self.tell(Denied(each["host"], each["times"], facts))

    @property
    def outcome(self) -> Outcome:
        """Say how it went: ``killed`` where the engine had to end a process."""
        with self._lock:
            if any(each.killed for each in self.processes):
                return "killed"
            return "failed" if self.error_code else "ok"

    def usage(self) -> dict[str, Any]:
        """Sum up what all its processes have used; the peak is the largest one's."""
        with self._lock:
            return {
                "cpu_s": round(sum(each.cpu_s for each in self.processes), 6),
                "peak_memory_bytes": max((each.peak_memory_bytes for each in self.processes), default=0),
                "bytes_in": sum(each.bytes_in for each in self.processes),
                "bytes_out": sum(each.bytes_out for each in self.processes),
                "processes": sum(each.processes for each in self.processes),
                "starts": self.starts,
                "throttled_s": round(sum(each.throttled_s for each in self.processes), 6),
                "refused_processes": sum(each.refused_processes for each in self.processes),
            }

    def egress(self) -> dict[str, Any]:
        """Sum up what all its processes reached and were denied."""
        with self._lock:
            return summed(self._networks)

    @property
    def warnings(self) -> list[str]:
        """Say what it was denied, if it did not fail for that."""
        if self.error_code == EGRESS_DENIED:
            return []
        denied = self.egress()["denied"]
        return [f"the plugin {self.name} was denied {each['host']}: {each['why']}" for each in denied]

    def held(self) -> dict[str, Any]:
        """Say which plugin it is and how it was kept from the machine, as checks and discoveries have it."""
        return {
            "end": self.end,
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "isolation": self.isolation,
            "controls": dict(self.controls),
        }

    def document(self) -> dict[str, Any]:
        """Give it as the report has it."""
        return {
            **self.held(),
            "sdk": self.sdk,
            "protocol": self.protocol,
            "language": self.language,
            "grant": self.grant.document(),
            "grant_sha256": self.grant.sha256,
            "outcome": self.outcome,
            "error_code": self.error_code,
            "usage": self.usage(),
            "egress": self.egress(),
            "processes": [asdict(each) for each in self.processes],
        }
