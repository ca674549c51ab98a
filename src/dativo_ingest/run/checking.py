"""Whether a job would work, found out without writing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, Literal, cast

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run import exit_codes
from dativo_ingest.run.ends import (
    Source,
    Target,
    available_streams,
    contract_of,
    open_source,
    open_target,
    plan_streams,
    stream_spec,
    table_spec,
)
from dativo_ingest.run.error_document import error_document
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.landing import Landing
from dativo_ingest.run.plan import Budget, RunOptions, StreamPlan
from dativo_ingest.run.report import CHECK
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.secrets.redaction import redact_document
from dativo_plugin_sdk.errors import DativoError, PluginExecutionError, SchemaValidationError
from dativo_plugin_sdk.reader import NOT_IMPLEMENTED
from dativo_plugin_sdk.results import Check, ConnectionTestResult
from dativo_plugin_sdk.streams import StreamSpec

_PERMISSION_CODES = frozenset({"PERMISSION_ERROR"})


def check_job(
    loaded: LoadedJob,
    only: Literal["source", "target"] | None = None,
    streams: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Walk the steps of both ends and give the check document.

    Each end goes on until its first failure; later steps of that end are listed as skipped.
    """
    steps: list[dict[str, Any]] = []
    codes: list[int] = []
    plans: list[StreamPlan] = []
    limits = loaded.job.limits
    budget = Budget.of(limits.memory_mb, limits.batch_mb)
    options = RunOptions(streams=streams)
    hosting = Hosting()
    opened: Source | None = None

    def source_end() -> AbstractContextManager[Source]:
        """Open the source once for both ends: for a plugin, that is a process."""
        nonlocal opened
        opened = opened or ends.enter_context(open_source(loaded, hosting))
        return nullcontext(opened)

    def source_checks(source: Source) -> Sequence[Check]:
        try:
            available = available_streams(loaded, source)
        except DativoError as error:
            # Globs need an answer before there are streams to check; the source's own steps tell better what is wrong.
            return [*source.reader.check(()), Check("streams", partial(_refuse, error))]
        plans.extend(plan_streams(loaded, source, None, options, available))
        specs = []
        for plan in plans:
            contract = contract_of(plan)
            specs.append(
                stream_spec(plan, budget, parallelism=limits.parallelism, schema=contract.schema if contract else None)
            )
        return [*source.reader.check(specs), *_detection_checks(source, plans, specs)]

    def target_checks(target: Target) -> Sequence[Check]:
        with source_end() as source:
            planned = plan_streams(loaded, source, target, options)
        return target.writer.check([table_spec(plan, loaded.job.name, uuid7(), budget) for plan in planned])

    with ExitStack() as ends:
        if only in (None, "source"):
            _walk(loaded, steps, codes, "source", source_end, source_checks)
        if only in (None, "target"):
            _walk(loaded, steps, codes, "target", lambda: open_target(loaded, hosting), target_checks)
    failed = [code for code in codes if code != exit_codes.OK]
    document = {
        "schema": CHECK,
        "job": loaded.job.name,
        "status": "failed" if failed else "succeeded",
        "isolation": hosting.isolation,
        "plugins": hosting.held(),
        "checks": steps,
        # Not "partial": a check that fails at one end has failed.
        "exit_code": exit_codes.worst(failed),
    }
    return cast("dict[str, Any]", redact_document(document))


def _detection_checks(source: Source, plans: Sequence[StreamPlan], specs: Sequence[StreamSpec]) -> Iterator[Check]:
    """List a step for each stream whose deletes are to be found: whether its columns can tell of them."""
    for plan, spec in zip(plans, specs, strict=True):
        if plan.delete_detection is not None:
            yield Check(f"deletes {plan.name}", partial(_check_detection, source, plan, spec))


def _check_detection(source: Source, plan: StreamPlan, spec: StreamSpec) -> ConnectionTestResult:
    found = source.reader.schema(spec)
    landing = Landing(plan, spec.schema or found, run_id="", loaded_at=datetime.now(UTC))
    columns = [plan.soft_column.column] if plan.soft_column else landing.keys.names
    absent = [name for name in columns if name not in found.names]
    if absent:
        raise SchemaValidationError(
            f"delete_detection: the source has no column {', '.join(absent)}; it has: {', '.join(found.names[:50])}",
            details={"columns": found.names[:1000]},
        )
    said = f"{', '.join(columns)} says which rows are deleted"
    if plan.key_diff is not None:
        often = f"once in {plan.key_diff.every}" if plan.key_diff.every else "by every run"
        said = f"{', '.join(columns)} of all rows is compared with the table's {often}"
    return ConnectionTestResult(
        success=True, message=said, details={name: str(landing.rows.field(name).type) for name in columns}
    )


def _walk(  # noqa: PLR0913, PLR0917  the document under way and the end to walk
    loaded: LoadedJob,
    steps: list[dict[str, Any]],
    codes: list[int],
    end: str,
    opened: Callable[[], AbstractContextManager[Any]],
    checks_of: Callable[[Any], Sequence[Check]],
) -> None:
    started_s = perf_counter()
    try:
        with opened() as made:
            checks = checks_of(made)
            steps.append(_step(end, "configuration", "ok", started_s, "configuration is valid"))
            for document, code in _run_checks(loaded, end, checks):
                steps.append(document)
                codes.append(code)
    except Exception as error:  # noqa: BLE001  connectors, ours or foreign, are called here
        codes.append(exit_codes.of(error))
        steps.append(_failed(end, "configuration", started_s, loaded.placed(error)))


def _run_checks(loaded: LoadedJob, end: str, checks: Sequence[Check]) -> Iterator[tuple[dict[str, Any], int]]:
    failed = False
    for check in checks:
        started_s = perf_counter()
        if failed:
            yield _step(end, check.step, "skipped", started_s, "an earlier step failed"), exit_codes.OK
            continue
        try:
            result = check.run()
        except Exception as error:  # noqa: BLE001  connectors, ours or foreign, are called here
            failed = True
            yield _failed(end, check.step, started_s, loaded.placed(error)), exit_codes.of(error)
            continue
        if not result.success:
            failed = True
            verdict = _error_of(result)
            yield _failed(end, check.step, started_s, verdict), exit_codes.of(verdict)
        else:
            yield _succeeded(end, check.step, started_s, result), exit_codes.OK


def _refuse(error: DativoError) -> ConnectionTestResult:
    raise error


def _succeeded(end: str, step: str, started_s: float, result: ConnectionTestResult) -> dict[str, Any]:
    details = dict(result.details or {})
    not_implemented = all(details.get(key) == value for key, value in NOT_IMPLEMENTED.items())
    warned = not_implemented or bool(details.get("warning"))
    return _step(end, step, "warn" if warned else "ok", started_s, result.message, details)


def _failed(end: str, step: str, started_s: float, error: BaseException) -> dict[str, Any]:
    document = error_document(error, stage="check")
    return {
        **_step(end, step, "fail", started_s, document["message"], document["details"]),
        "error": document,
    }


def _step(  # noqa: PLR0913, PLR0917  the parts of the document
    end: str, step: str, status: str, started_s: float, message: str, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "end": end,
        "step": step,
        "status": status,
        "duration_ms": round((perf_counter() - started_s) * 1000, 1),
        "message": message,
        "details": details or {},
        "error": None,
    }


def _error_of(result: ConnectionTestResult) -> DativoError:
    """Turn a plugin's own verdict into an error of the class that its code stands for."""
    code = result.error_code or "CONNECTION_FAILED"
    classes = {each.default_error_code: each for each in _all_classes(DativoError)}
    classes |= {"CONNECTION_FAILED": classes["CONNECTION_ERROR"]}
    classes |= dict.fromkeys(_PERMISSION_CODES, classes["INSUFFICIENT_PERMISSIONS"])
    error_class = classes.get(code, PluginExecutionError)
    return error_class(result.message, error_code=code, details=dict(result.details or {}))


def _all_classes(root: type[DativoError]) -> Iterator[type[DativoError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_classes(child)
