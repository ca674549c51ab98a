"""How the plugins of a job are let run, and what they did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.events import Listener
from dativo_ingest.sandbox.levels import Isolation, weakest
from dativo_plugin_sdk.config import SourceConfig, TargetConfig

if TYPE_CHECKING:
    from dativo_ingest.plugin_process.found import FoundPlugin
    from dativo_ingest.plugin_process.records import End, PluginRecord
    from dativo_ingest.run.plugin_events import PluginCounters
    from dativo_ingest.sandbox.confinement import Confinement


@dataclass
class Hosting:
    """What the plugins of one job may do in this process, and what they did.

    Attributes:
        run_id: The run, where there is one.
        records: One for each end that was opened and is a plugin, in that order.
        while_waiting: Called twice a second while a plugin is waited for; what it raises ends the plugin's process.
        left: Set while nobody takes any more what the source's plugin is reading.
        emit: Told what plugins do, by whichever thread it happens in, one event at a time.
    """

    run_id: str | None = None
    records: list[PluginRecord] = field(default_factory=list)
    while_waiting: Callable[[], None] = lambda: None
    left: threading.Event = field(default_factory=threading.Event)
    emit: Listener = field(default=lambda _: None)
    _counters: PluginCounters | None = field(default=None, repr=False)

    def counters(self, tenant: str) -> PluginCounters:
        """Give what counts for the events of this job's plugins."""
        from dativo_ingest.run.plugin_events import PluginCounters  # noqa: PLC0415  built-in connectors do without it

        if self._counters is None:
            self._counters = PluginCounters(self.emit, tenant)
        return self._counters

    @property
    def isolation(self) -> Isolation | Literal["built_in"]:
        """How far the plugins were kept from the machine: the weakest of them; ``built_in`` without any."""
        return weakest(record.isolation for record in self.records) or "built_in"

    @property
    def warnings(self) -> list[str]:
        """Say what plugins were denied and lived with."""
        return [text for record in self.records for text in record.warnings]

    def held(self) -> list[dict[str, Any]]:
        """Say of each plugin how it was kept from the machine."""
        return [record.held() for record in self.records]

    def admitted(
        self, loaded: LoadedJob, end: End, plugin: FoundPlugin, config: SourceConfig | TargetConfig
    ) -> AbstractContextManager[tuple[PluginRecord, Confinement]]:
        """Decide what a plugin may do, and let it run; see `dativo_ingest.run.admission.admitted`."""
        from dativo_ingest.run.admission import admitted  # noqa: PLC0415  built-in connectors do without it

        return admitted(self, loaded, end, plugin, config)
