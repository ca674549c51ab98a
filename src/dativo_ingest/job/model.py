"""The job as frozen models: what a job file may say, and what each key means when it is left out.

The descriptions here are the job reference of the documentation and the help an editor shows. References are resolved
and paths made absolute by `dativo_ingest.job.load` before a model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from dativo_ingest.job.delete_detection import DeleteDetection
from dativo_ingest.job.durations import Duration
from dativo_ingest.job.job_model import JobModel
from dativo_plugin_sdk.config import Credentials, as_credentials, list_of_one
from dativo_plugin_sdk.versions import specifier

Mode: TypeAlias = Literal["full_refresh", "incremental", "cdc"]
Write: TypeAlias = Literal["append", "overwrite", "merge"]
OnBadRow: TypeAlias = Literal["quarantine", "skip", "fail"]
ExtraColumns: TypeAlias = Literal["ignore", "fail"]
Deletes: TypeAlias = Literal["hard", "soft"]
SystemColumn: TypeAlias = Literal["loaded_at", "run_id"]
Isolation: TypeAlias = Literal["none", "process", "container", "vm"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""What a job or tenant may be called: it becomes part of state keys, folder names and metric labels."""


def _without_none(value: object) -> object:
    return {} if value is None else value


def _as_text(value: object) -> object:
    """Write numbers and booleans as table properties spell them: ``true``, ``134217728``."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: str(item).lower() if isinstance(item, bool) else str(item) if isinstance(item, int | float) else item
        for key, item in value.items()
    }


Names: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(list_of_one, json_schema_input_type=str | list[str]),
]
"""A list of text; a lone text stands for a list of one."""

Section: TypeAlias = Annotated[
    dict[str, Any],
    BeforeValidator(_without_none, json_schema_input_type=dict[str, Any] | None),
]
"""Keys that a connector reads; written without a value it is empty."""

SecretSection: TypeAlias = Annotated[
    Credentials,
    BeforeValidator(as_credentials),
    BeforeValidator(_without_none),
    WithJsonSchema({"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]}),
]
"""Like `Section`, and its repr shows stars for the values."""

Properties: TypeAlias = Annotated[
    dict[str, str],
    BeforeValidator(_as_text, json_schema_input_type=dict[str, str | int | float | bool]),
]


def _version_in_quotes(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError("a version is text: write it in quotes, since YAML takes 1.10 for the number 1.1")  # noqa: TRY004  pydantic's
    return value


def _specifier(value: str) -> str:
    try:
        specifier(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no version and no PEP 440 specifier, such as ~=1.4 or >=1.4,<2") from error
    return value


class _End(JobModel):
    """What source and target share."""

    connector: str = Field(
        min_length=1,
        description="A built-in or installed name; for a plugin of your own `path/to/file.py:Class`, or the path of "
        "its `dativo-plugin.yaml`.",
    )
    version: (
        Annotated[str, BeforeValidator(_version_in_quotes, json_schema_input_type=str), AfterValidator(_specifier)]
        | None
    ) = Field(
        default=None,
        description='Which versions of the connector the job may run with: one version, `"1.4.0"`, or a PEP 440 '
        'specifier, `"~=1.4"`. Left out, any. A built-in connector has the version of Dativo.',
    )
    config_version: int = Field(
        default=1,
        ge=1,
        description="The version of the connector's configuration that this section is written for. A connector of a "
        "later one takes it over, or says what to change.",
    )
    connection: Section = Field(
        default_factory=dict,
        description="Where the other side is; the keys are the connector's. A relative `path` or `warehouse` is "
        "relative to the job file.",
    )
    credentials: SecretSection = Field(
        default_factory=Credentials,
        description="How to be let in; the keys are the connector's. Write references such as `${secret:pg/password}` "
        "or `${PGPASSWORD}`, never values.",
    )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(connector={self.connector!r}, connection={sorted(self.connection)})"

    __str__ = __repr__


class Source(_End):
    """Where the rows come from."""

    options: Section = Field(
        default_factory=dict,
        description="How to read; the keys are the connector's. A stream's own `options` go before these.",
    )


class Target(_End):
    """Where the rows go."""

    namespace: str | None = Field(
        default=None,
        description="The namespace (schema, database) of the tables; it is made where it is missing. "
        "A stream's own `namespace` goes before it.",
    )
    options: Section = Field(
        default_factory=dict,
        description="How to write; the keys are the connector's, and `partition_by`, `sort_by` and `properties` for "
        "every table whose stream does not say.",
    )


class Maintenance(JobModel):
    """When a run takes care of the table that it has committed to, and of its quarantine table.

    It happens after the commit, in the run's own process. What goes wrong with it is a warning: the rows have landed.
    """

    compact: Literal["auto", "never"] = Field(
        default="auto",
        description="Whether small files, and files with deleted rows, are written anew once there are enough of them.",
    )
    small_files: int = Field(
        default=20,
        ge=2,
        description="So many small files of a partition are put together. Small is below three quarters of the size "
        "that the table's files should have.",
    )
    delete_files: int = Field(
        default=10, ge=1, description="A data file with so many delete files is written anew without the deleted rows."
    )
    deleted_ratio: float = Field(
        default=0.1, gt=0, le=1, description="So is one of whose rows such a part is deleted (0 to 1)."
    )
    expire_older_than: Duration | None = Field(
        default=None,
        description="Versions (snapshots) older than this are forgotten and their files deleted, ten or more at a "
        "time: `7d`, `24h`. Left out, none is.",
    )
    retain_last: int = Field(default=10, ge=1, description="So many versions stay however old they are.")


class _StreamSettings(JobModel):
    """What may be said once for all streams, under `defaults`, and again for one of them."""

    mode: Mode = Field(
        default="full_refresh",
        description="`full_refresh` reads everything each time, `incremental` what is new since the last commit, "
        "`cdc` the changes that the source's log tells.",
    )
    write: Write | None = Field(
        default=None,
        description="What a commit does to the rows already there: `append`, `overwrite` (replace them all) or `merge` "
        "(by `primary_key`). Left out, `full_refresh` overwrites, and the other modes merge where there is a "
        "`primary_key` and the target can merge, and append otherwise.",
    )
    op_column: str | None = Field(
        default=None,
        min_length=1,
        description="The column that says what became of a row: `c` created, `u` updated, `d` deleted, `r` read, `t` "
        "all rows gone. Named here, every row must have it; left out, `_dativo_op` is looked at where there is one. It "
        "matters where rows are merged or a changelog is written.",
    )
    deletes: Deletes = Field(
        default="hard",
        description="What `write: merge` does with a row that was deleted: take it out of the table, or keep it with "
        "`_dativo_deleted` true (`soft`).",
    )
    delete_detection: DeleteDetection = Field(
        default=None,
        description="How rows that the source deletes are noticed where nothing tells of it: `none`, `soft_column` (a "
        "column says so), or `key_diff` (now and then, the keys that the source has are compared with those of the "
        "table). It needs `write: merge`.",
    )
    changelog: bool = Field(
        default=False,
        description="Append every change with `_dativo_op`, `_dativo_run_id`, `_dativo_seq` and `_dativo_loaded_at`, "
        "and merge nothing.",
    )
    lag: Duration | None = Field(
        default=None,
        description="For databases: how much of the newest rows an incremental run leaves for the next one, for clocks "
        "of writers that are behind the server's: `30s`, `5m`. The cursor must be a time or a uuid of version 7.",
    )
    lookback: Annotated[int, Field(ge=1)] | Duration | None = Field(
        default=None,
        description="For databases: how far before its state an incremental run reads again, for rows that come in "
        "late: `1h`, `3d`, or a number where the cursor is one. It needs `write: merge`.",
    )
    max_watermark_lag: Duration | None = Field(
        default=None,
        description="For databases: for how long another's open transaction may hold an incremental run back before "
        "that is an error: `1h`. Left out, a transaction open for five minutes or more is named in a warning.",
    )
    on_bad_row: OnBadRow = Field(
        default="quarantine",
        description="A row that breaks the contract or cannot be parsed goes to the table `<table>__quarantine`, is "
        "left out and counted (`skip`), or fails the stream.",
    )
    max_bad_rows: int | None = Field(
        default=None,
        ge=0,
        description="The stream fails, and commits nothing, when more rows than this are bad.",
    )
    max_bad_ratio: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The stream fails, and commits nothing, when more than this part of its rows is bad (0 to 1).",
    )
    extra_columns: ExtraColumns = Field(
        default="ignore",
        description="What to do with columns that the contract does not know: leave them out and name them in the "
        "report's warnings, or fail.",
    )
    system_columns: Annotated[
        list[SystemColumn],
        BeforeValidator(list_of_one, json_schema_input_type=SystemColumn | list[SystemColumn]),
    ] = Field(
        default_factory=list,
        description="Columns that Dativo adds: `loaded_at` as `_dativo_loaded_at`, `run_id` as `_dativo_run_id`.",
    )

    maintenance: Annotated[
        Maintenance | None, BeforeValidator(_without_none, json_schema_input_type=Maintenance | None)
    ] = Field(
        default=None,
        description="When runs take care of the table after their commits; written without a value, by the defaults. "
        "Left out, they never do, and `dativo table` does when it is asked to.",
    )

    @field_validator("deletes")
    @classmethod
    def _deletes_fit_write(cls, value: Deletes, info: ValidationInfo) -> Deletes:
        write = info.data.get("write")
        if value == "soft" and write not in {None, "merge"}:
            raise ValueError(f"soft marks deleted rows where rows are merged; write: {write} merges none")
        return value

    @field_validator("delete_detection")
    @classmethod
    def _detection_fits(cls, value: DeleteDetection, info: ValidationInfo) -> DeleteDetection:
        if value is None:
            return value
        write = info.data.get("write")
        if write not in {None, "merge"}:
            raise ValueError(f"{value.mode} takes rows out of a table that is merged; write: {write} merges none")
        if info.data.get("op_column") is not None:
            raise ValueError(f"op_column says what was deleted already: leave it or {value.mode} out")
        if info.data.get("mode") == "cdc":
            raise ValueError(f"mode: cdc hears of deletes from the source's log: leave {value.mode} out")
        return value

    @field_validator("changelog")
    @classmethod
    def _changelog_appends(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic's signature
        write = info.data.get("write")
        if value and write not in {None, "append"}:
            raise ValueError(f"a changelog appends every change; write: {write} does not: leave write out")
        if value and info.data.get("deletes") == "soft":
            raise ValueError("a changelog keeps every change, deletes: soft marks rows that are merged: choose one")
        if value and info.data.get("delete_detection") is not None:
            raise ValueError("a changelog merges nothing that delete_detection could take away: choose one")
        return value

    @field_validator("write")
    @classmethod
    def _write_fits_mode(cls, value: Write | None, info: ValidationInfo) -> Write | None:
        mode = info.data.get("mode")
        if value == "overwrite" and mode in {"incremental", "cdc"}:
            raise ValueError(
                f"overwrite with mode: {mode} would drop what earlier runs loaded; "
                "write append or merge, or mode: full_refresh"
            )
        return value


class Defaults(_StreamSettings):
    """Settings for every stream that does not say otherwise."""


class Stream(_StreamSettings):
    """One thing to read and the table it becomes. Settings left out come from `defaults`."""

    cursor: str | None = Field(
        default=None,
        min_length=1,
        description="The column that `incremental` resumes by: only rows beyond its last committed value are read. "
        "File sources without one follow whole files instead.",
    )
    primary_key: Names = Field(
        default_factory=list,
        validate_default=True,
        description="The columns that identify a row, needed to merge; a lone name needs no list.",
    )
    contract: str | None = Field(
        default=None,
        min_length=1,
        description="The path of an ODCS document (`*.odcs.yaml`), relative to the job file. Without one the schema is "
        "what discovery finds.",
    )
    table: str | None = Field(
        default=None,
        min_length=1,
        description="The table's name. Left out, the last part of the stream's name: `public.orders` becomes `orders`.",
    )
    namespace: str | None = Field(
        default=None,
        min_length=1,
        description="The namespace of this table, before the target's.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="For file sources: the file, folder, glob or URI of this stream, relative to the job file, before "
        "`source.connection.path`.",
    )
    partition_by: Names = Field(
        default_factory=list,
        description="How the table is partitioned: columns or transforms, such as `region`, `day(created_at)`, "
        "`bucket(16, id)`.",
    )
    sort_by: Names = Field(
        default_factory=list,
        description="How rows are sorted within files: columns, each with `asc` or `desc`, such as `id desc`.",
    )
    properties: Properties = Field(
        default_factory=dict,
        repr=False,
        description="Table properties in the target's own words, set when the table is made.",
    )
    options: Section = Field(
        default_factory=dict,
        repr=False,
        description="The reader's own options for this stream, before those of `source.options`.",
    )

    @field_validator("cursor")
    @classmethod
    def _cursor_fits_mode(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("mode") == "cdc":
            raise ValueError("cdc resumes by the source's log: leave cursor out, or use mode: incremental")
        return value

    @field_validator("primary_key")
    @classmethod
    def _merge_has_a_key(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("write") == "merge" and not value:
            raise ValueError("write: merge needs the columns that identify a row, such as primary_key: [id]")
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value


class Limits(JobModel):
    """What a run may use."""

    memory_mb: int = Field(
        default=1024,
        ge=64,
        description="The most memory for data in flight, in MiB; the interpreter and its libraries come on top.",
    )
    batch_mb: int = Field(
        default=32,
        ge=1,
        validate_default=True,
        description="About how large a batch should be, in MiB, at most half of `memory_mb`.",
    )
    parallelism: int = Field(
        default=2,
        ge=1,
        le=256,
        description="How many threads may read and decode at once.",
    )

    @field_validator("batch_mb")
    @classmethod
    def _batch_fits(cls, value: int, info: ValidationInfo) -> int:
        memory_mb = info.data.get("memory_mb")
        if memory_mb is not None and value > memory_mb // 2:
            raise ValueError(f"a batch of {value} MiB does not fit: memory_mb is {memory_mb}, at most half of it")
        return value


class Lease(JobModel):
    """What keeps two runs of the job from working at the same time; the fence at the commit holds without it."""

    wait_s: float = Field(
        default=3600,
        ge=0,
        le=604_800,
        description="How many seconds a run waits for another one that is at work on its streams, before it ends with "
        "75; 0 is not at all. `dativo run --wait` goes before it.",
    )
    ttl_s: float = Field(
        default=60,
        ge=1,
        le=86_400,
        description="How many seconds after its last sign of life a run that died is no longer waited for. It gives "
        "three signs in that time; one that died on the same machine is noticed at once.",
    )


class Sandbox(JobModel):
    """How far the job's plugins are to be kept from the machine; connectors of Dativo's own are not plugins."""

    min: Isolation | None = Field(
        default=None,
        description="The least that will do: `none`, `process` (namespaces and filters), `container` (those of a "
        "container engine) or `vm` (a kernel of its own, such as gVisor's). Where less is achieved, no plugin starts. "
        "The stricter of this and the operator's policy holds; left out, the policy alone.",
    )


class Job(JobModel):
    """One source, one target, and the streams to carry."""

    version: Literal[1] = Field(description="The version of the job format: 1.")
    name: str = Field(
        pattern=NAME_PATTERN,
        max_length=128,
        description="What the job is called. Its state in the target is kept under this name: a new name starts over.",
    )
    tenant: str = Field(
        default="default",
        pattern=NAME_PATTERN,
        max_length=128,
        description="Whom the job runs for; it labels reports, logs and metrics.",
    )
    source: Source = Field(description="Where the rows come from.")
    target: Target = Field(description="Where the rows go.")
    defaults: Annotated[Defaults, BeforeValidator(_without_none, json_schema_input_type=Defaults | None)] = Field(
        default_factory=Defaults, description="Settings for every stream that does not say otherwise."
    )
    streams: dict[
        Annotated[str, Field(min_length=1)],
        Annotated[Stream, BeforeValidator(_without_none, json_schema_input_type=Stream | None)],
    ] = Field(
        default_factory=dict,
        description="What to read, by the source's name for it; a name may be a glob such as `public.audit_*`. "
        "`discover` needs none, `run` at least one.",
    )
    limits: Annotated[Limits, BeforeValidator(_without_none, json_schema_input_type=Limits | None)] = Field(
        default_factory=Limits, description="What a run may use."
    )
    lease: Annotated[Lease, BeforeValidator(_without_none, json_schema_input_type=Lease | None)] = Field(
        default_factory=Lease, description="How runs of the job keep out of each other's way."
    )
    sandbox: Annotated[Sandbox, BeforeValidator(_without_none, json_schema_input_type=Sandbox | None)] = Field(
        default_factory=Sandbox, description="How far the job's plugins are to be kept from the machine."
    )
    secrets: Annotated[
        dict[str, Section], BeforeValidator(_without_none, json_schema_input_type=dict[str, Section] | None)
    ] = Field(
        default_factory=dict,
        repr=False,
        description="The secret back ends `${secret:…}` asks, each with its configuration: `env`, `file`, `keyring` or "
        "an installed one. The first is asked where a reference names none. Left out: `file`, then `env`.",
    )

    @field_validator("streams", mode="before")
    @classmethod
    def _streams_have_the_defaults(cls, value: object, info: ValidationInfo) -> object:
        """Fill each stream with the defaults that it does not set, so that nothing later has to look them up."""
        if value is None:
            return {}
        defaults = info.data.get("defaults")
        if not isinstance(value, Mapping) or defaults is None:
            return value
        shared = defaults.model_dump(exclude_unset=True)
        return {
            name: {**shared, **(stream or {})} if stream is None or isinstance(stream, Mapping) else stream
            for name, stream in value.items()
        }
