"""Write what the documentation says twice from where it is said once: models, error classes, commands.

``python docs/generate.py`` writes schemas/*.json and the marked regions of the pages in docs/; with ``--check`` it only
says whether they are up to date. A region is what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import decision_tree
from escape_table import escapes_by_kind, every_escape
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from support_table import support_tables

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.program import dativo
from dativo_ingest.cli.schema import document
from dativo_ingest.job import delete_detection, model as job_model
from dativo_ingest.run import documents_schema
from dativo_ingest.run.plugin_events import METRICS
from dativo_ingest.sandbox.limits import LIMITS
from dativo_plugin_sdk import errors

DOCS = Path(__file__).parent
ROOT = DOCS.parent
REGION = re.compile(r"(<!-- generated: (?P<name>[\w.:]+) -->\n).*?(<!-- end -->)", re.DOTALL)
JOB_MODELS: dict[str, type[BaseModel]] = {
    each.__name__: each
    for each in (
        *(job_model.Job, job_model.Source, job_model.Target, job_model.Defaults, job_model.Stream),
        *(delete_detection.SoftColumn, delete_detection.KeyDiff),
        *(job_model.Maintenance, job_model.Limits, job_model.Lease, job_model.Sandbox),
    )
}


def main() -> int:
    """Write or check every generated file; the exit code of a check is 1 where one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is out of date")
    checking = parser.parse_args().check
    stale = [path for path, text in generated() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if checking:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python docs/generate.py")
        return 1 if stale else 0
    for path, text in generated():
        if path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


def generated() -> Iterator[tuple[Path, str]]:
    """Give every generated file with the text it must have."""
    for name in ("job", "contract", "report", "plugin", "policy"):
        yield ROOT / "schemas" / f"{name}.schema.json", _json(document(name))
    yield ROOT / "schemas" / "check.schema.json", _json(documents_schema.CHECK)
    yield ROOT / "schemas" / "discover.schema.json", _json(documents_schema.DISCOVER)
    yield ROOT / "schemas" / "doctor.schema.json", _json(documents_schema.DOCTOR)
    yield ROOT / "schemas" / "table.schema.json", _json(documents_schema.TABLE)
    yield DOCS / "decision-tree.svg", decision_tree.svg()
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if REGION.search(text):
            yield page, REGION.sub(lambda match: f"{match[1]}\n{region(match['name']).strip()}\n\n{match[3]}", text)


def region(name: str) -> str:
    """Give the text of one region."""
    if name in REGIONS:
        return REGIONS[name]()
    module, _, class_name = name.partition(":")
    return _keys(getattr(importlib.import_module(module), class_name))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


# The job's models, and connectors' configurations


def _model_section(model: type[BaseModel]) -> str:
    title = "The job" if model is job_model.Job else f"`{_key(model.__name__)}`"
    return f"## {title}\n\n{_doc(model)}\n\n{_keys(model)}"


def _key(name: str) -> str:
    """Give a model's name as jobs write it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _keys(model: type[BaseModel]) -> str:
    documented = _attribute_docs(model)
    rows = [
        (f"`{name}`", _type(model, name), _default(info), info.description or documented.get(name, ""))
        for name, info in model.model_fields.items()
    ]
    return _table(("Key", "Value", "Default", "Meaning"), rows)


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """Read the strings that stand below a class's attributes, those of its bases too."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not (issubclass(each, BaseModel) and each is not BaseModel) or each.__module__.startswith("pydantic"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        if not isinstance(definition, ast.ClassDef):
            continue
        for attribute, text in zip(definition.body, definition.body[1:], strict=False):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name) and is_text:
                found[attribute.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def _type(model: type[BaseModel], name: str) -> str:
    schema = model.model_json_schema(mode="validation")
    return _type_of(schema["properties"][name], schema.get("$defs", {}))


def _type_of(schema: dict[str, Any], models: dict[str, Any]) -> str:  # noqa: PLR0911  one per kind of type
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = models[name]
        return f"[`{_key(name)}`](#{_key(name)})" if name in JOB_MODELS else _type_of(target, models)
    several = next((key for key in ("anyOf", "oneOf") if key in schema), None)
    if several is not None:
        parts = [_type_of(part, models) for part in schema[several] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_type_of(schema.get('items', {}), models)}"
        case "object":
            return _mapping(schema, models)
        case "integer" | "number":
            return _bounded("whole number" if schema["type"] == "integer" else "number", schema)
        case "boolean":
            return "`true`, `false`"
        case "string":
            return "text"
    return "any"


def _mapping(schema: dict[str, Any], models: dict[str, Any]) -> str:
    values = schema.get("additionalProperties")
    return f"names to {_type_of(values, models)}" if isinstance(values, dict) and values else "mapping"


def _bounded(text: str, schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None and high is not None:
        return f"{text}, {low} to {high}"
    return text if low is None else f"{text}, {'above' if 'exclusiveMinimum' in schema else 'from'} {low}"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value in ({}, [], ()) or isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) else f"`{value}`"


def _grant_defaults() -> str:
    rows = [(f"`{limit.key}`", f"`{limit.text(limit.default)}`") for limit in LIMITS.values()]
    return _table(("Key", "Default"), [("`capabilities`", "none; the credentials of its own end"), *rows])


# Errors and exit codes


def _errors() -> str:
    rows = [_error_row(error_class, depth) for error_class, depth in _tree(errors.DativoError, 0)]
    return _table(("Class", "Code", "Exit", "Again?", "Meaning"), rows)


def _tree(error_class: type[errors.DativoError], depth: int) -> Iterator[tuple[type[errors.DativoError], int]]:
    yield error_class, depth
    for child in error_class.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def _error_row(error_class: type[errors.DativoError], depth: int) -> tuple[str, ...]:
    error = error_class("")
    return (
        "&emsp;" * depth + f"`{error_class.__name__}`",
        f"`{error.error_code}`",
        f"{exit_codes.of(error)}",
        "yes" if error.retryable else "no",
        _doc(error_class).split("\n\n")[0],
    )


def _exit_codes() -> str:
    def again(code: int) -> str:
        if code == exit_codes.OK:
            return "-"
        if code == exit_codes.PARTIAL:
            return "see the report"
        return "**yes**" if code in exit_codes.RETRYABLE else "no"

    rows = [(str(code), meaning, again(code)) for code, meaning in exit_codes.MEANINGS.items()]
    return _table(("Code", "Meaning", "Again?"), rows)


# Commands


def _command(command: click.Command, path: str) -> str:
    if isinstance(command, click.Group):
        inner = "\n".join(_command(each, f"{path} {name}") for name, each in command.commands.items())
        return f"## `{path}`\n\n{_help(command)}\n\n{inner}"
    arguments = " ".join(
        each.make_metavar(click.Context(command)) for each in command.params if isinstance(each, click.Argument)
    )
    level = "##" if path.count(" ") == 1 else "###"
    rows = [
        (f"`{', '.join(each.opts)}`{_metavar(each)}", each.help or "")
        for each in command.params
        if isinstance(each, click.Option)
    ]
    title = f"{path} {arguments}".strip()
    return f"{level} `{title}`\n\n{_help(command)}\n\n{_table(('Option', 'Meaning'), rows)}"


def _metavar(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + ", ".join(f"`{choice}`" for choice in option.type.choices)
    return " " + (option.metavar or option.type.name.upper()).replace("|", " or ")


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _doc(item: type) -> str:
    return re.sub(r"``([^`]*)``", r"`\1`", inspect.cleandoc(item.__doc__ or ""))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", re.sub(r"``([^`]*)``", r"`\1`", text))


REGIONS: dict[str, Callable[[], str]] = {
    "decision_tree": lambda: f"```text\n{decision_tree.text()}\n```",
    "job": lambda: "\n".join(_model_section(each) for each in JOB_MODELS.values()),
    "errors": _errors,
    "support": support_tables,
    "exit_codes": _exit_codes,
    "grant_defaults": _grant_defaults,
    "metrics": lambda: _table(("Metric", "Meaning"), [(f"`{name}`", text) for name, text in METRICS.items()]),
    "escapes": escapes_by_kind,
    "every_escape": every_escape,
    "commands": lambda: "\n".join(_command(command, f"dativo {name}") for name, command in dativo.commands.items()),
}

if __name__ == "__main__":
    sys.exit(main())
