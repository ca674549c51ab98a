"""The two ends of a job, made from its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dativo_ingest.contracts.odcs import Contract, load_contract
from dativo_ingest.job import model as job_model
from dativo_ingest.job.load import LoadedJob
from dativo_ingest.registry.connectors import Connector, Kind, find, make_reader, make_writer
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.plan import (
    Budget,
    RunOptions,
    StreamPlan,
    expand,
    has_glob,
    plan_stream,
    refuse_lost_rows,
    select,
)
from dativo_ingest.run.state_file import state_file
from dativo_ingest.run.state_store import SqliteStateStore
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import (
    DativoError,
    InvalidConfigError,
    PluginExecutionError,
    PluginVersionError,
    wrap_exception,
)
from dativo_plugin_sdk.migrations import config_for
from dativo_plugin_sdk.streams import StreamReader, StreamSpec
from dativo_plugin_sdk.tables import StreamWriter, TableSpec
from dativo_plugin_sdk.versions import check_pin

if TYPE_CHECKING:
    from dativo_ingest.plugin_process.records import End
    from dativo_ingest.plugin_process.starting import Hosted


@dataclass(frozen=True)
class Source:
    """The source of a job: what was found by its name, and the reader made of it."""

    connector: Connector
    reader: StreamReader


@dataclass(frozen=True)
class Target:
    """The target of a job: what was found by its name, and the writer made of it."""

    connector: Connector
    writer: StreamWriter


@contextmanager
def open_source(loaded: LoadedJob, hosting: Hosting | None = None) -> Iterator[Source]:
    """Make the reader, and close it afterwards; ``hosting`` notes what it does where it is a plugin."""
    job = loaded.job
    connector = _find(loaded, "reader", job.source)
    config = SourceConfig(
        type=job.source.connector,
        connection=job.source.connection,
        credentials=job.source.credentials,
        objects=list(job.streams),
        engine={"options": job.source.options, "job": job.name},
        options=job.source.options,
    )
    with _admitted(hosting, loaded, "source", connector, config) as hosted:
        with _explained(loaded, "source", connector, hosted):
            if isinstance(connector.plugin, type):
                config = config_for(connector.plugin, config, job.source.config_version)
            reader = make_reader(connector, config, hosted)
        try:
            yield Source(connector, reader)
        finally:
            reader.close()


@contextmanager
def open_target(loaded: LoadedJob, hosting: Hosting | None = None) -> Iterator[Target]:
    """Make the writer, and close it afterwards; ``hosting`` notes what it does where it is a plugin."""
    job = loaded.job
    connector = _find(loaded, "writer", job.target)
    config = TargetConfig(
        type=job.target.connector,
        connection=job.target.connection,
        credentials=job.target.credentials,
        engine={"options": job.target.options, "job": job.name},
        options=job.target.options,
    )
    states = SqliteStateStore(state_file(loaded.folder))
    output_base = str(job.target.connection.get("path") or loaded.folder)
    with _admitted(hosting, loaded, "target", connector, config) as hosted:
        with _explained(loaded, "target", connector, hosted):
            if isinstance(connector.plugin, type):
                config = config_for(connector.plugin, config, job.target.config_version)
            writer = make_writer(connector, config, hosted, states=states, output_base=output_base)
        try:
            yield Target(connector, writer)
        finally:
            writer.close()


def available_streams(loaded: LoadedJob, source: Source) -> Mapping[str, Mapping[str, Any]]:
    """Ask the source for the names that a job's globs pick from; nothing where the job has no glob."""
    return source.reader.streams() if has_glob(loaded.job.streams) else {}


def plan_streams(
    loaded: LoadedJob,
    source: Source,
    target: Target | None,
    options: RunOptions,
    available: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[StreamPlan]:
    """Decide what each stream asked for does.

    Without a target nothing is going to be written, so that streams cannot be in each other's way. ``available`` is
    what `available_streams` gave, where it has been asked already.
    """
    streams = expand(loaded.job, available_streams(loaded, source) if available is None else available)
    wanted = select(streams, options.streams)

    def planned(name: str) -> StreamPlan:
        try:
            return plan_stream(
                name,
                streams[name][0],
                loaded.job,
                from_source=streams[name][1],
                write_modes=target.writer.write_modes if target else ("append", "overwrite", "merge"),
                can_cdc=Capability.CDC in source.reader.capabilities,
                full_refresh=options.full_refresh,
                can_range=Capability.CURSOR_RANGE in source.reader.capabilities,
                can_watermark=Capability.WATERMARK in source.reader.capabilities,
                cursor_from=options.cursor_from,
                cursor_to=options.cursor_to,
                deletes_rows=target.writer.deletes_rows if target else True,
                compares_keys=target.writer.compares_keys if target else True,
                can_read_keys=Capability.KEYS in source.reader.capabilities,
            )
        except InvalidConfigError as error:
            error.message = f"{loaded.locate(('streams', name))} {error.message}"
            raise

    if target is None:
        return [planned(name) for name in wanted]
    # Streams that this run leaves out have rows in the tables, too.
    plans = {name: planned(name) for name in streams}
    refuse_lost_rows(list(plans.values()))
    return [plans[name] for name in wanted]


def contract_of(plan: StreamPlan) -> Contract | None:
    """Load the contract that a stream names."""
    return load_contract(plan.contract, stream=plan.name, table=plan.table) if plan.contract else None


def stream_spec(plan: StreamPlan, budget: Budget, *, parallelism: int, schema: pa.Schema | None = None) -> StreamSpec:
    """Say what the reader needs to know of a stream."""
    return StreamSpec(
        name=plan.name,
        mode=plan.mode,
        cursor=plan.cursor,
        primary_key=plan.primary_key,
        schema=schema,
        options={**plan.reader_options, "extra_columns": plan.extra_columns},
        batch_bytes=budget.batch_bytes,
        parallelism=parallelism,
        cursor_from=plan.cursor_from,
        cursor_to=plan.cursor_to,
        watermark=plan.watermark,
    )


def table_spec(plan: StreamPlan, job: str, run_id: str, budget: Budget) -> TableSpec:
    """Say what the writer needs to know of a table."""
    return TableSpec(
        name=plan.table,
        namespace=plan.namespace,
        job=job,
        stream=plan.name,
        run_id=run_id,
        write=plan.write,
        primary_key=() if plan.changelog else plan.primary_key,  # a changelog has many rows of one key
        options=plan.table_options,
        buffer_bytes=budget.buffer_bytes,
    )


@contextmanager
def _admitted(
    hosting: Hosting | None, loaded: LoadedJob, end: End, connector: Connector, config: SourceConfig | TargetConfig
) -> Iterator[Hosted | None]:
    """Decide how a plugin is run, and note what it does; None for a connector of our own."""
    plugin = connector.plugin
    if isinstance(plugin, type):
        yield None
        return
    from dativo_ingest.plugin_process.starting import Hosted  # noqa: PLC0415  built-in connectors do without it

    hosting = hosting or Hosting()
    with hosting.admitted(loaded, end, plugin, config) as (record, confinement):
        written = loaded.job.source if end == "source" else loaded.job.target
        yield Hosted(
            record,
            confinement=confinement,
            run_id=hosting.run_id or "",
            while_waiting=hosting.while_waiting,
            is_left=hosting.left.is_set,
            explain=lambda error: _with_place(loaded, end, error),
            pinned=written.version,
            config_version=written.config_version,
        )


def _find(loaded: LoadedJob, kind: Kind, written: job_model.Source | job_model.Target) -> Connector:
    """Find a connector, of a version that the job may run with as far as that is certain before it runs."""
    end = "source" if kind == "reader" else "target"
    try:
        connector = find(kind, written.connector)
    except DativoError as error:
        error.message = f"{loaded.locate((end, 'connector'))} {end}.connector: {error.message}"
        raise
    if isinstance(connector.plugin, type) or connector.plugin.version_is_certain:
        try:
            check_pin(connector.version, written.version, where=connector.name, key=f"{end}.version")
        except PluginVersionError as error:
            error.message = f"{loaded.locate((end, 'version'))} {error.message}"
            raise
    return connector


def _with_place(loaded: LoadedJob, end: End, error: InvalidConfigError) -> InvalidConfigError:
    place = str(error.details.get("where", end)).split(".")
    return loaded.explain(error, tuple(place))


@contextmanager
def _explained(loaded: LoadedJob, end: End, connector: Connector, hosted: Hosted | None) -> Iterator[None]:
    """Give a connector's complaints about its configuration their place in the job file; note a plugin's failure."""
    try:
        yield
    except DativoError as error:
        if hosted is not None:
            hosted.record.failed(error)
        if isinstance(error, InvalidConfigError):
            raise _with_place(loaded, end, error) from error
        raise
    except Exception as error:
        if connector.built_in:
            raise
        raise wrap_exception(
            error, PluginExecutionError, f"making {connector.name} failed: {type(error).__name__}: {error}"
        ) from error
