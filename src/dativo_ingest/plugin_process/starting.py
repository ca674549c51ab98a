"""Processes of one plugin, each greeted, asked what it is, and given its configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.holding import what_holds
from dativo_ingest.plugin_process.records import End, PluginRecord, ProcessUsage
from dativo_ingest.plugin_process.version_checks import check_config_version, check_forms, check_said
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.exits import signal_name
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.run_spec import CANCEL_S, STOP_S, Code, RunSpec
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import InvalidConfigError, PluginError, PluginVersionError
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.messages import PluginSpec, config_to_json, spec_from_json

_HOST = ("-P", "-X", "faulthandler", "-m", "dativo_plugin_sdk.host")


@dataclass(frozen=True)
class Hosted:
    """How one end's plugin is run.

    Attributes:
        record: Where it is noted what its processes do; its grant is what they may do.
        confinement: How its processes are held.
        run_id: The run, told to the plugin.
        while_waiting: Called twice a second while nothing comes; what it raises ends the process.
        is_left: Whether nobody takes any more what is being read.
        explain: Gives what a plugin says of its configuration its place in the job.
        pinned: Which versions of the plugin the job asks for.
        config_version: The version of the configuration's form, as the job says it.
        cancel_s: How long a plugin may take to leave off what it is doing.
        stop_s: How long it may take to close what is open and end.
    """

    record: PluginRecord
    confinement: Confinement
    run_id: str = ""
    while_waiting: Callable[[], None] = lambda: None
    is_left: Callable[[], bool] = lambda: False
    explain: Callable[[InvalidConfigError], InvalidConfigError] = lambda error: error
    pinned: str | None = None
    config_version: int = 1
    cancel_s: float = CANCEL_S
    stop_s: float = STOP_S

    @classmethod
    def alone(cls, end: End, plugin: FoundPlugin) -> Hosted:
        """Run a plugin with what one without a manifest gets."""
        confinement = what_holds(plugin)
        return cls(PluginRecord.of(end, plugin, Grant(), confinement), confinement=confinement)


@dataclass
class Starter:
    """Starts processes; called by one thread at a time.

    Attributes:
        plugin: What runs in them.
        config: What they are given.
        hosted: How they are run.
    """

    plugin: FoundPlugin
    config: SourceConfig | TargetConfig
    hosted: Hosted
    spec: PluginSpec | None = None
    """What the first process said of the plugin."""
    configured: object = None
    """What the process started last said of itself, once it was configured."""
    _begun: Conversation | None = field(default=None, repr=False)

    def begin(self) -> None:
        """Start a process, which gets ready while other things are done; the next call gives it."""
        if self._begun is None:
            self._begun = self._started()

    def __call__(self) -> Conversation:
        """Give a process that is ready to be asked.

        Raises:
            PluginError: It cannot be started, or does something else than to get ready.
            DativoError: The plugin refuses its configuration.
        """
        self.begin()
        process, self._begun = self._begun, None
        assert process is not None  # noqa: S101  it was begun
        try:
            self._ready(process)
        except InvalidConfigError as error:
            process.close()
            raise self.hosted.explain(error) from error
        except BaseException:
            process.close()
            raise
        return process

    def close(self) -> None:
        """End the process that was begun and never asked for."""
        process, self._begun = self._begun, None
        if process is not None:
            process.close()

    def _started(self) -> Conversation:
        started_s = time.monotonic()

        def note_end(process: Conversation) -> None:
            found, usage = process.session.exit(), process.session.usage()
            number = found.signal if found is not None else None
            if process.session.egress is not None:
                self.hosted.record.reached(process.session.egress.document())
            self.hosted.record.ended(
                ProcessUsage(
                    cpu_s=usage.cpu_s,
                    peak_memory_bytes=usage.peak_memory_bytes,
                    processes=usage.processes,
                    bytes_in=process.bytes_out,
                    bytes_out=process.bytes_in,
                    duration_s=round(time.monotonic() - started_s, 3),
                    exit_code=found.exit_code if found is not None else None,
                    signal=None if number is None else signal_name(number),
                    killed=process.killed,
                    throttled_s=usage.throttled_s,
                    refused_processes=usage.refused_processes,
                )
            )

        process = Conversation(
            RunSpec(
                self.plugin.title,
                self._command(),
                self.hosted.record.grant,
                cancel_s=self.hosted.cancel_s,
                stop_s=self.hosted.stop_s,
                manifest=self.plugin.manifest_place,
                code=self._code(),
            ),
            self.hosted.confinement,
            run_id=self.hosted.run_id,
            while_waiting=self.hosted.while_waiting,
            on_end=note_end,
            on_error=self.hosted.record.failed,
        )
        self.hosted.record.started()
        return process

    def _command(self) -> tuple[str, ...]:
        return self.plugin.command or (str(self.plugin.python), *_HOST)

    def _code(self) -> Code:
        plugin = self.plugin
        file = plugin.file if plugin.manifest is None else plugin.manifest.path
        return Code(
            python=None if plugin.command else plugin.python,
            folder=None if file is None else file.parent,
            file=plugin.file,
        )

    def _ready(self, process: Conversation) -> None:
        hello = process.greet()
        self.hosted.record.greeted(sdk=hello.sdk, protocol=hello.protocol, language=hello.language)
        answer = process.ask("spec", {"plugin": self._where(), "kind": self.plugin.kind}, within="start")
        try:
            spec = spec_from_json(answer)
            if spec.kind != self.plugin.kind:
                raise breach(f"a {self.plugin.kind} was asked for, it is a {spec.kind}")
        except PluginError as error:
            process.refuse(error)
        self._check(spec, hello.sdk)
        self.spec = self.spec or spec
        config = {"config": config_to_json(self.config), "config_version": self.hosted.config_version}
        self.configured = process.ask("configure", config, within="start")

    def _check(self, spec: PluginSpec, sdk: str | None) -> None:
        """Refuse what does not fit, now that the class is imported and nothing of it has run."""
        end, title = self.hosted.record.end, self.plugin.title
        try:
            version = check_said(
                self.plugin,
                version=spec.version,
                requires_sdk=spec.requires_sdk,
                sdk=sdk,
                pinned=self.hosted.pinned,
                key=f"{end}.version",
            )
            self.hosted.record.named(version)
            forms = {"state_version": spec.state_version, "config_version": spec.config_version}
            check_forms(self.plugin.kind, forms, self.plugin.manifest, where=f"{title} {version}")
            check_config_version(self.hosted.config_version, spec.config_version, title=f"{title} {version}", end=end)
        except PluginVersionError as error:
            self.hosted.record.failed(error)
            raise

    def _where(self) -> dict[str, str] | None:
        if self.plugin.file is not None and self.plugin.class_name is not None:
            return {"file": str(self.plugin.file), "class": self.plugin.class_name}
        return None if self.plugin.entry_point is None else {"entry_point": self.plugin.entry_point}
