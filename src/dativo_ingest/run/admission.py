"""Whether and how a plugin may run: by whose policy, with what grant, and what is said of it afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dativo_ingest.job.load import LoadedJob, path_keys
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.holding import what_holds
from dativo_ingest.plugin_process.records import Denied, End, Limited, Note, PluginRecord, Reached
from dativo_ingest.sandbox.asked import EndConfig, local_paths
from dativo_ingest.sandbox.audit import AuditLog, audit_file
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Applicant, Grant, decide
from dativo_ingest.sandbox.missing_folders import made
from dativo_ingest.sandbox.policy import terms_of
from dativo_ingest.sandbox.process_policy import PROCESS
from dativo_ingest.sandbox.real_paths import is_within, real_path
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_ingest.sandbox.unseen_paths import refuse_unseen
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import DativoError

if TYPE_CHECKING:
    from dativo_ingest.run.hosting import Hosting

_LOGGER = logging.getLogger("dativo.plugins")
_BEFORE = frozenset({"granted", "refused"})
_OF_LIMITS = ("bytes", "peak_bytes", "pids", "times", "seconds", "syscall")
"""What a line says of a limit: numbers and names of ours, nothing that the plugin has said."""


@contextmanager
def admitted(
    hosting: Hosting, loaded: LoadedJob, end: End, plugin: FoundPlugin, config: SourceConfig | TargetConfig
) -> Iterator[tuple[PluginRecord, Confinement]]:
    """Decide what a plugin may do and let it run; what it did is in the audit log when this is over.

    The line that says what was granted is written before any process of the plugin starts, and one of a refusal
    too.

    Yields:
        Where the plugin's processes note what they do, whose ``grant`` is what they may do; and what holds them.

    Raises:
        InsufficientPermissionsError: It asks for more than the operator allows.
        SandboxError: It cannot be held as the mode, the policy and the job ask for.
        ConfigurationError: The job does not give it what its manifest asks for.
        DativoError: The audit log that the operator asks for cannot be written.
    """
    terms = terms_of(PROCESS.policy, loaded.job.tenant)
    audit = _Audit.of(hosting, loaded, terms, end, plugin)
    try:
        asks = Applicant(plugin.title, plugin.sha256, plugin.manifest, plugin.manifest_place)
        asked = _end_config(loaded, end, config)
        grant = decide(asks, terms, asked)
        least = Said(loaded.job.sandbox.min, f"{loaded.locate(('sandbox', 'min'))} sandbox.min")
        confinement = what_holds(plugin, terms.sandbox, least)
        if confinement.isolation != "none":
            refuse_unseen(asks, plugin.folder, asked, grant)
    except DativoError as error:
        audit.write("refused", {"error_code": error.error_code, "refused": error.details.get("refused", [])})
        raise
    record = PluginRecord.of(end, plugin, grant, confinement)
    granted = {
        "isolation": record.isolation,
        "controls": dict(record.controls),
        "grant": grant.document(),
        "grant_sha256": grant.sha256,
    }
    _LOGGER.info(
        "plugin %s (%s): isolation %s, grant %s",
        *(record.name, end, record.isolation, grant.sha256),
        extra={"grant": grant.document(), "isolation": record.isolation, "controls": dict(record.controls)},
    )
    audit.write("granted", granted)
    counters = hosting.counters(loaded.job.tenant)

    def told(note: Note) -> None:
        audit.note(note)
        counters.take(record, note)

    record.tell = told
    hosting.records.append(record)
    try:
        with made(_missing(grant, asked)):
            yield record, confinement
    finally:
        ended = {"outcome": record.outcome, "error_code": record.error_code, "usage": record.usage()}
        audit.write("ended", {**granted, **ended})


def _missing(grant: Grant, config: EndConfig) -> Iterator[str]:
    """Give what may be written and may have to be made, without links, as far as the operator allows where these lead.

    What a job names as its source is none of it: a source that is not there is to be told.
    """
    named = {
        path
        for key in path_keys(config.connection)
        for path in local_paths(config.value(("connection", key)), config.folder)
    }
    sources = named if config.end == "source" else set()
    found = (real_path(path) for path in grant.write if path not in sources)
    return (path for path in found if is_within(path, grant.write_within))


def _end_config(loaded: LoadedJob, end: End, config: SourceConfig | TargetConfig) -> EndConfig:
    return EndConfig(
        end=end,
        folder=loaded.folder,
        connection=config.connection,
        options=config.options,
        credentials=tuple(config.credentials),
        other_secrets=tuple(loaded.secrets_beside_credentials(end)),
        locate=loaded.locate,
    )


@dataclass(frozen=True)
class _Audit:
    """The audit log with what all lines of one plugin have in common."""

    log: AuditLog | None
    must: bool
    facts: dict[str, Any]

    @classmethod
    def of(cls, hosting: Hosting, loaded: LoadedJob, terms: Terms, end: End, plugin: FoundPlugin) -> _Audit:
        path = terms.audit or (audit_file(loaded.folder) if PROCESS.writes_beside_jobs else None)
        facts = {
            "tenant": loaded.job.tenant,
            "job": loaded.job.name,
            "command": PROCESS.command,
            "run_id": hosting.run_id,
            "end": end,
            "plugin": plugin.title,
            "version": plugin.version,
            "sha256": plugin.sha256,
        }
        return cls(AuditLog(path) if path is not None else None, terms.audit is not None, facts)

    def write(self, event: str, facts: dict[str, Any]) -> None:
        """Write a line; one that cannot be written is a warning, unless the operator asked for it and nothing ran."""
        if self.log is None:
            return
        try:
            self.log.write(event, {**self.facts, **facts})
        except DativoError as error:
            if self.must and event in _BEFORE:  # what has run cannot be kept from it, nor its rows be taken back
                raise
            _LOGGER.warning("%s", error)

    def note(self, note: Note) -> None:
        """Write the line of a limit that was met, or of a host that was reached or denied; the others have none."""
        match note:
            case Limited(limit, code, details):
                facts = {key: details[key] for key in _OF_LIMITS if key in details}
                self.write("limit", {"limit": limit, "error_code": code, **facts})
            case Reached(host, facts):
                self.write("egress", {"host": host, "denied": 0, **facts})
            case Denied(host, times, facts):
                self.write("egress", {"host": host, "denied": times, **facts})
