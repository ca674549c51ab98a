"""JSON Schema (2020-12) of the documents that commands print; keys may be added within a version, never taken away."""

from __future__ import annotations

from typing import Any

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_EXIT_CODE = {"type": "integer", "minimum": 0, "maximum": 255}
_TIME = {"type": "string", "format": "date-time"}
_ANY_OBJECT = {"type": "object"}
_OBJECT_OR_NULL = {"type": ["object", "null"]}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = (), **keywords: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **keywords}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _document(name: str, title: str, properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    body = _object({"schema": {"const": name}, **properties}, optional=optional)
    return {"$schema": _DIALECT, "$id": f"urn:{name.replace('/', ':')}", "title": title, **body}


ERROR: dict[str, Any] = _object(
    {
        "error_code": {**_TEXT, "description": "A code of the error reference, or a plugin's own."},
        "message": _TEXT,
        "retryable": {"type": "boolean", "description": "Whether trying again helps."},
        "retry_after_s": {"type": ["number", "null"], "description": "Seconds the other side asked us to wait."},
        "hint": {**_TEXT_OR_NULL, "description": "What to do next."},
        "type": {**_TEXT, "description": "The class of the error."},
        "details": _ANY_OBJECT,
        "stage": _TEXT_OR_NULL,
        "stream": _TEXT_OR_NULL,
        "plugin": _TEXT_OR_NULL,
    }
)

_ERROR_OR_NULL = {"anyOf": [ERROR, {"type": "null"}]}

_ISOLATION = {"enum": ["none", "process", "container", "vm"], "description": "How far it was kept from the machine."}

_HELD: dict[str, Any] = {
    "end": {"enum": ["source", "target"]},
    "name": _TEXT,
    "version": _TEXT,
    "sha256": {**_TEXT, "description": "Of its file, or of the list of its distribution's files."},
    "isolation": _ISOLATION,
    "controls": {
        "type": "object",
        "additionalProperties": {"enum": ["enforced", "weaker", "absent"]},
        "description": "What each control of its sandbox came to.",
    },
}

_WEAKEST = {
    "enum": ["built_in", "none", "process", "container", "vm"],
    "description": "The weakest isolation of a plugin; built_in where there was none.",
}

_PLUGINS_HELD = {**_list(_object(_HELD)), "description": "Each end that is a plugin, and how it was held."}

CHECK: dict[str, Any] = _document(
    "dativo.check/1",
    "What dativo check found",
    {
        "job": _TEXT,
        "status": {"enum": ["succeeded", "failed"]},
        "isolation": _WEAKEST,
        "plugins": _PLUGINS_HELD,
        "checks": _list(
            _object(
                {
                    "end": {"enum": ["source", "target"]},
                    "step": _TEXT,
                    "status": {"enum": ["ok", "warn", "fail", "skipped"]},
                    "duration_ms": {"type": "number", "minimum": 0},
                    "message": _TEXT_OR_NULL,
                    "details": _OBJECT_OR_NULL,
                    "error": _ERROR_OR_NULL,
                }
            )
        ),
        "error": {**ERROR, "description": "Why the job could not even be read."},
        "exit_code": _EXIT_CODE,
    },
    optional=("error", "isolation", "plugins"),
)

DISCOVER: dict[str, Any] = _document(
    "dativo.discover/1",
    "What dativo discover found",
    {
        "source": {
            "anyOf": [_object({"connector": _TEXT, "version": _TEXT}), {"type": "null"}],
        },
        "isolation": _WEAKEST,
        "plugins": _PLUGINS_HELD,
        "metadata": _ANY_OBJECT,
        "objects": _list(
            _object(
                {
                    "name": _TEXT,
                    "namespace": _TEXT_OR_NULL,
                    "type": _TEXT_OR_NULL,
                    "estimated_rows": _COUNT_OR_NULL,
                    "size_bytes": _COUNT_OR_NULL,
                    "description": _TEXT_OR_NULL,
                    "primary_key": _list(_TEXT),
                    "cursor_candidates": _list(_TEXT),
                    "cursor": {
                        **_TEXT_OR_NULL,
                        "description": "The column to follow, where the source proposes one; null where none does.",
                    },
                    "sync_modes": _list(_TEXT),
                    "columns": _list(
                        _object(
                            {
                                "name": _TEXT,
                                "type": _TEXT_OR_NULL,
                                "arrow_type": _TEXT_OR_NULL,
                                "nullable": {"type": ["boolean", "null"]},
                                "fidelity": _TEXT_OR_NULL,
                            }
                        )
                    ),
                },
                optional=("size_bytes", "description", "cursor"),
            )
        ),
        "warnings": _list(_TEXT),
        "error": {**ERROR, "description": "Why the source could not be asked."},
    },
    optional=("error", "isolation", "plugins"),
)

_STREAM = _object(
    {
        "name": _TEXT,
        "mode": {"enum": ["full_refresh", "incremental", "cdc"]},
        "write": {"enum": ["append", "overwrite", "merge"]},
        "status": {"enum": ["succeeded", "failed", "cancelled", "no_data"]},
        "range": {
            "anyOf": [_object({"cursor": _TEXT, "from": _TEXT_OR_NULL, "to": _TEXT_OR_NULL}), {"type": "null"}],
            "description": "The part of the cursor that --from and --to asked for; the state then stays.",
        },
        "rows": _object(
            {
                "read": {**_COUNT, "description": "On success: written + quarantined + skipped."},
                "written": _COUNT,
                "inserted": {**_COUNT_OR_NULL, "description": "null where the target cannot tell."},
                "updated": _COUNT_OR_NULL,
                "deleted": _COUNT_OR_NULL,
                "quarantined": {**_COUNT, "description": "Rejected rows kept in <table>__quarantine."},
                "skipped": _COUNT,
            }
        ),
        "bytes": {**_COUNT, "description": "Bytes written to the target."},
        "commit": {
            "anyOf": [
                _object({"id": _TEXT, "generation": _COUNT, "snapshot_id": _TEXT_OR_NULL}),
                {"type": "null"},
            ],
            "description": "null where nothing was committed.",
        },
        "state": _object({"before": _OBJECT_OR_NULL, "after": _OBJECT_OR_NULL}),
        "delete_detection": {
            "anyOf": [
                _object(
                    {
                        "mode": {"const": "key_diff"},
                        "compared_at": _TIME,
                        "duration_ms": {"type": "number", "minimum": 0},
                        "source_keys": _COUNT,
                        "table_rows": {**_COUNT, "description": "Rows of the table before this run."},
                        "absent": {**_COUNT, "description": "How many of them the source has no more."},
                        "deletes": {
                            "enum": ["hard", "soft", None],
                            "description": "null: nothing becomes of them, as the source had keys that are unreadable.",
                        },
                        "examples": {**_list(_ANY_OBJECT), "description": "Keys of some of them, in a dry run alone."},
                    }
                ),
                {"type": "null"},
            ],
            "description": "What comparing the table's keys with the source's found; null where the run did not.",
        },
        "columns": {
            **_list(
                _object(
                    {
                        "name": _TEXT,
                        "source_type": {**_TEXT_OR_NULL, "description": "null where the source declares no types."},
                        "arrow_type": _TEXT,
                        "fidelity": {
                            **_TEXT_OR_NULL,
                            "description": "exact, widened, text, json; contract where the contract says another type.",
                        },
                        "lost": {
                            "type": "object",
                            "additionalProperties": _COUNT,
                            "description": "Values that were given up, by the way that the contract allows.",
                        },
                    }
                )
            ),
            "description": "Empty where the stream never came to know its columns.",
        },
        "schema_changes": _list(_TEXT),
        "maintenance": {
            **_list(_object({"table": _TEXT, "action": {"enum": ["compact", "expire"]}, "result": _ANY_OBJECT})),
            "description": "What was done for the table after the commit; results as dativo table --json has them.",
        },
        "error": _ERROR_OR_NULL,
    },
    optional=("columns",),
)

_TEXTS = _list(_TEXT)
_TEXTS_OR_NULL = {"type": ["array", "null"], "items": _TEXT}
_SECONDS = {"type": "number", "minimum": 0}

GRANT: dict[str, Any] = _object(
    {
        "network": {**_TEXTS, "description": "Hosts with ports."},
        "private": {**_TEXTS, "description": "Ranges of private addresses, and hosts that may have any."},
        "read": {**_TEXTS, "description": "Files and folders that it may read."},
        "write": {**_TEXTS, "description": "Files and folders that it may write."},
        "read_within": {**_TEXTS_OR_NULL, "description": "What links in them may lead to at most; null is anything."},
        "write_within": _TEXTS_OR_NULL,
        "secrets": {**_TEXTS, "description": "Keys of the job's credentials that it was given."},
        "subprocess": {"type": "boolean", "description": "Whether it may start other programs."},
        "memory_bytes": _COUNT,
        "cpu": _SECONDS,
        "pids": _COUNT,
        "wall_s": _SECONDS,
        "tmp_bytes": _COUNT,
        "log_bytes": _COUNT,
        "upload_bytes": _COUNT,
        "download_bytes": _COUNT,
        "connections": _COUNT,
        "deadlines": _object(dict.fromkeys(("start_s", "check_s", "discover_s", "idle_s"), _SECONDS)),
        "environment": {**_TEXTS, "description": "Variables of the engine's environment that it was given."},
    }
)

_USAGE: dict[str, Any] = {
    "cpu_s": _SECONDS,
    "peak_memory_bytes": {**_COUNT, "description": "Of its largest process."},
    "processes": {**_COUNT, "description": "How many there were, with those that it started."},
    "bytes_in": {**_COUNT, "description": "What it was sent."},
    "bytes_out": {**_COUNT, "description": "What it has sent."},
    "throttled_s": {**_SECONDS, "description": "How long it waited because it had used its part of the processors."},
    "refused_processes": {**_COUNT, "description": "How often it was refused another process or thread."},
}

_EGRESS = {
    **_object(
        {
            "hosts": {
                **_list(
                    _object(
                        {
                            "host": _TEXT,
                            "addresses": _TEXTS,
                            "connections": _COUNT,
                            "upload": {**_COUNT, "description": "Bytes that went there."},
                            "download": {**_COUNT, "description": "Bytes that came from there."},
                        }
                    )
                ),
                "description": "The hosts that it talked to.",
            },
            "denied": {
                **_list(
                    _object(
                        {
                            "host": _TEXT,
                            "kind": {"enum": ["host", "address", "quota"]},
                            "why": _TEXT,
                            "key": {**_TEXT, "description": "What would have to be changed."},
                            "times": _COUNT,
                        }
                    )
                ),
                "description": "The hosts that it was denied.",
            },
        }
    ),
    "description": "What it did in the network, where it was kept from it but for the hosts that it was granted.",
}

_PLUGIN = _object(
    {
        **_HELD,
        "sdk": {**_TEXT_OR_NULL, "description": "The release of dativo-plugin-sdk that it runs with."},
        "protocol": _COUNT_OR_NULL,
        "language": _TEXT_OR_NULL,
        "grant": GRANT,
        "grant_sha256": {**_TEXT, "description": "Of the grant as JSON with sorted keys and no spaces."},
        "outcome": {"enum": ["ok", "failed", "killed"]},
        "error_code": _TEXT_OR_NULL,
        "usage": _object({**_USAGE, "starts": {**_COUNT, "description": "How often it was started."}}),
        "egress": _EGRESS,
        "processes": {
            **_list(
                _object(
                    {
                        **_USAGE,
                        "duration_s": _SECONDS,
                        "exit_code": {"type": ["integer", "null"]},
                        "signal": _TEXT_OR_NULL,
                        "killed": {**_TEXT_OR_NULL, "description": "Why the engine ended it."},
                    }
                )
            ),
            "description": "One for each time that it was started.",
        },
    }
)

REPORT: dict[str, Any] = _document(
    "dativo.report/1",
    "The report of dativo run",
    {
        "run_id": {"type": "string", "format": "uuid"},
        "job": _TEXT,
        "tenant": _TEXT,
        "status": {"enum": ["succeeded", "partial", "failed", "cancelled", "no_data"]},
        "exit_code": _EXIT_CODE,
        "retryable": {"type": "boolean", "description": "Whether running again, unchanged, may help."},
        "started_at": _TIME,
        "ended_at": _TIME,
        "dativo_version": _TEXT,
        "delivery": {"enum": ["exactly_once", "at_least_once"]},
        "isolation": _WEAKEST,
        "plugins": {**_list(_PLUGIN), "description": "Each end that is a plugin: its grant, and what it used."},
        "streams": _list(_STREAM),
        "errors": _list(ERROR),
        "warnings": _list(_TEXT),
    },
)

_ENGINE = {
    **dict.fromkeys(("kind", "version", "api", "socket", "default_runtime"), _TEXT),
    "runtimes": _TEXTS,
    "rootless": {"type": "boolean"},
}

_MACHINE = {
    **dict.fromkeys(("dativo", "sdk", "python", "kernel", "architecture"), _TEXT),
    "user": {**_COUNT, "description": "Who runs it: 0 is root."},
    "bubblewrap": {"anyOf": [_object({"path": _TEXT, "version": _TEXT}), {"type": "null"}]},
    "user_namespaces": {**_COUNT_OR_NULL, "description": "How many a user may make."},
    "landlock": {**_COUNT_OR_NULL, "description": "The version that the kernel has."},
    "seccomp": {**_TEXT_OR_NULL, "description": "The profile of system calls."},
    "cgroup": {
        "anyOf": [_object(dict.fromkeys(("memory", "pids", "cpu"), _COUNT_OR_NULL)), {"type": "null"}],
        "description": "The version by which each is held; null where no group can be written.",
    },
    "docker_library": {**_TEXT_OR_NULL, "description": "The release of docker-py."},
    "engine": {"anyOf": [_object(_ENGINE), {"type": "null"}], "description": "The container engine."},
}

_TRIED = _object({"attempt": _TEXT, "outcome": {"enum": ["blocked", "through", "unproven"]}, "why": _TEXT_OR_NULL})

_CONTROL = _object(
    {
        "control": _TEXT,
        "state": {"enum": ["enforced", "weaker", "absent"]},
        "enough": {"type": "boolean", "description": "Whether plugins may run with it so."},
        "how": {**_TEXT, "description": "By what it is enforced, or why it is not."},
        "remedy": {**_TEXT_OR_NULL, "description": "What to install or set."},
        "tried": {**_list(_TRIED), "description": "What a plugin tried in the sandbox."},
    }
)

DOCTOR: dict[str, Any] = _document(
    "dativo.doctor/1",
    "What dativo doctor found",
    {
        "status": {"enum": ["succeeded", "failed"]},
        "mode": {"enum": ["self_hosted", "cloud"]},
        "tenant": _TEXT,
        "default": {"enum": ["none", "process", "container"], "description": "The back end that plugins have here."},
        "machine": _object(_MACHINE),
        "backends": _list(
            _object(
                {
                    "name": {"enum": ["process", "container"]},
                    "default": {"type": "boolean"},
                    "isolation": {"enum": ["none", "process", "container", "vm", None]},
                    "works": {"type": "boolean", "description": "Whether it holds all that it must."},
                    "error": _ERROR_OR_NULL,
                    "controls": _list(_CONTROL),
                }
            )
        ),
        "exit_code": _EXIT_CODE,
    },
)

TABLE: dict[str, Any] = _document(
    "dativo.table/1",
    "What dativo table found or did",
    {
        "job": _TEXT,
        "action": {"enum": ["health", "compact", "expire", "orphans"]},
        "dry_run": {"type": "boolean", "description": "Whether only said is what would be done."},
        "tables": _list(
            _object(
                {
                    "stream": _TEXT,
                    "table": {**_TEXT_OR_NULL, "description": "null where it does not exist yet."},
                    "advice": {**_list(_TEXT), "description": "What would do the table good."},
                    "result": {**_OBJECT_OR_NULL, "description": "Counts and bytes, by what was asked for."},
                    "error": _ERROR_OR_NULL,
                },
                optional=("advice",),
            )
        ),
        "exit_code": _EXIT_CODE,
    },
)
