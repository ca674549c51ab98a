"""A plugin for pytest, by which conformance suites run a plugin as a job does: in processes of its own.

It answers the hooks of `dativo_plugin_sdk.testing.hooks`. Connectors of our own stay in the tests' process.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.holding import what_holds
from dativo_ingest.plugin_process.records import End, PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.remote_writer import remote_writer
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.registry.plugins import found_in_file
from dativo_ingest.sandbox.asked import EndConfig
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Applicant, decide
from dativo_ingest.sandbox.policy import Policy, load_policy, terms_of
from dativo_ingest.sandbox.process_policy import BACKEND_VARIABLE, ISOLATIONS_VARIABLE, POLICY_VARIABLE
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_ingest.sandbox.unseen_paths import refuse_unseen
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.simple_writer import StateStore
from dativo_plugin_sdk.streams import StreamReader
from dativo_plugin_sdk.tables import StreamWriter

_OURS = "dativo_ingest."


@dataclass
class _Processes(Starter):
    """Starts processes, and remembers them, so that they can be killed."""

    made: list[Conversation] = field(default_factory=list)

    def __call__(self) -> Conversation:
        """Start one."""
        process = super().__call__()
        self.made.append(process)
        return process


_STARTED: WeakKeyDictionary[object, _Processes] = WeakKeyDictionary()


def pytest_dativo_reader(plugin: Any, config: SourceConfig) -> StreamReader | None:
    """Make the reader that talks with a plugin's processes."""
    name = _name_of(plugin)
    if name is None:
        return None
    processes = _processes_of(found_in_file("reader", name), config)
    reader = RemoteReader(config, processes)
    _STARTED[reader] = processes
    return reader


def pytest_dativo_writer(
    plugin: Any, config: TargetConfig, states: StateStore, output_base: str
) -> StreamWriter | None:
    """Make the writer that talks with a plugin's processes."""
    name = _name_of(plugin)
    if name is None:
        return None
    processes = _processes_of(found_in_file("writer", name), config)
    writer = remote_writer(processes, config, states=states, output_base=output_base)
    _STARTED[writer] = processes
    return writer


def pytest_dativo_crash(end: object) -> bool | None:
    """Kill the processes of a reader or writer."""
    processes = _STARTED.get(end)
    if processes is None:
        return None
    for process in processes.made:
        process.session.kill(None)
    return True


def pytest_dativo_peak_bytes(end: object) -> int | None:
    """Say how much memory the largest process of a reader or writer had."""
    processes = _STARTED.get(end)
    return None if processes is None else int(processes.hosted.record.usage()["peak_memory_bytes"])


def _name_of(plugin: Any) -> str | None:
    """Name a class by its file, as a job may; None for one of our own."""
    if isinstance(plugin, str):
        return plugin
    return None if plugin.__module__.startswith(_OURS) else f"{inspect.getfile(plugin)}:{plugin.__qualname__}"


def _processes_of(plugin: FoundPlugin, config: SourceConfig | TargetConfig) -> _Processes:
    """Let a plugin run with what its manifest asks for, held as ever: a policy speaks here of sandboxes alone."""
    end: End = "source" if plugin.kind == "reader" else "target"
    asks = Applicant(plugin.title, plugin.sha256, plugin.manifest, plugin.manifest_place)
    asked = EndConfig(end, Path.cwd(), config.connection, config.options, tuple(config.credentials))
    grant = decide(asks, Terms("conformance"), asked)
    confinement = _holding(plugin)
    if confinement.isolation != "none":
        refuse_unseen(asks, plugin.folder, asked, grant)
    record = PluginRecord.of(end, plugin, grant, confinement)
    if noted := os.environ.get(ISOLATIONS_VARIABLE):
        with Path(noted).open("a", encoding="utf-8") as file:
            file.write(f"{record.isolation}\n")
    return _Processes(plugin, config, Hosted(record, confinement=confinement))


def _holding(plugin: FoundPlugin) -> Confinement:
    """Choose what holds a plugin: the back end that is asked for, else the policy's, else what holds it in a job."""
    terms = terms_of(_policy(), "conformance").sandbox
    match os.environ.get(BACKEND_VARIABLE):
        case "none" if terms.min.value in {None, "none"}:
            return Unconfined()  # its own author asks for it, whose tests run in this process anyway
        case ("none" | "process" | "container") as backend:
            terms = replace(terms, backend=Said(backend, "--isolation"))
    return what_holds(plugin, terms)


def _policy() -> Policy | None:
    """Give the operator's policy, which says how plugins are held here, too."""
    path = os.environ.get(POLICY_VARIABLE)
    return None if path is None else load_policy(Path(path))
