"""The JSON Schema of a job file, for editors and for checks before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from dativo_ingest.job.model import Job

Schema: TypeAlias = dict[str, Any]
ConnectorSchemas: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""A connector's name to the JSON Schemas of its ``connection``, ``credentials`` and ``options``, as far as known."""

SCHEMA_ID = "urn:dativo:job:1"
REFERENCE: Schema = {
    "type": "string",
    "pattern": r"^.*\$\{",
    "description": "A reference: ${NAME}, ${NAME:-default}, ${secret:path#key} or ${file:path}.",
}

_ABOUT = ("title", "description", "default", "examples", "deprecated")
_SECTIONS = ("connection", "credentials", "options")


def job_schema(*, sources: ConnectorSchemas | None = None, targets: ConnectorSchemas | None = None) -> Schema:
    """Give the JSON Schema (draft 2020-12) of a job file.

    Where a job may write a number, a boolean or one of a few words, it may also write a reference, so those places take
    text with ``${`` too. What depends on several keys (a merge needs a key) is left to loading.

    Args:
        sources: The known readers, offered for ``source.connector``; any other text stays allowed. The schemas, where
            there are some, apply to jobs that name that reader; definitions within them may be referred to as
            ``#/$defs/…``.
        targets: The same for writers.
    """
    schema = Job.model_json_schema(ref_template="#/$defs/{model}")
    definitions: Schema = schema.pop("$defs")
    version = schema["properties"]["version"]
    schema = _relaxed(schema)
    schema["properties"]["version"] = _untitled(version)
    definitions = {name: _relaxed(definition) for name, definition in definitions.items()}
    for end, connectors in (("Source", sources or {}), ("Target", targets or {})):
        _offer(definitions[end], connectors)
        for name in sorted(connectors):
            _apply(definitions, end, name, connectors[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
        "title": "Dativo job",
        "$defs": definitions,
    }


def _offer(end: Schema, connectors: ConnectorSchemas) -> None:
    """Let editors complete the names of known connectors, and allow any other."""
    if not connectors:
        return
    written = end["properties"]["connector"]
    about = {key: written[key] for key in _ABOUT if key in written}
    end["properties"]["connector"] = {**about, "anyOf": [{"enum": sorted(connectors)}, _without(written, _ABOUT)]}


def _apply(definitions: Schema, end: str, name: str, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Hold a job that names this connector to the connector's own schemas."""
    then: Schema = {}
    required: list[str] = []
    for section in _SECTIONS:
        if section not in sections:
            continue
        prefix = f"{end.lower()}.{name}.{section}."
        written = _moved(sections[section], prefix)
        for inner, definition in written.pop("$defs", {}).items():
            definitions[prefix + inner] = _relaxed(definition)
        applied = _relaxed(_without(written, ("$schema", "$id", "title")))
        if applied.get("required"):
            required.append(section)
        else:
            applied = {"anyOf": [applied, {"type": "null"}]}
        then[section] = applied
    if then:
        condition = {
            "if": {"properties": {"connector": {"const": name}}, "required": ["connector"]},
            "then": {"properties": then, **({"required": required} if required else {})},
        }
        definitions[end].setdefault("allOf", []).append(condition)


def _moved(value: Any, prefix: str) -> Any:
    """Point references to a schema's own definitions to where these go."""
    if isinstance(value, Mapping):
        return {
            key: f"#/$defs/{prefix}{item.removeprefix('#/$defs/')}"
            if key == "$ref" and isinstance(item, str) and item.startswith("#/$defs/")
            else _moved(item, prefix)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_moved(item, prefix) for item in value]
    return value


def _relaxed(schema: Any) -> Any:
    """Allow a reference wherever one could not be written as the text that is asked for."""
    if not isinstance(schema, Mapping):
        return schema
    relaxed: Schema = {}
    for key, value in schema.items():
        match key:
            case "title" | "discriminator":
                continue
            case "properties" | "patternProperties" | "$defs":
                relaxed[key] = {name: _relaxed(item) for name, item in value.items()}
            case "items" | "additionalProperties":
                relaxed[key] = _relaxed(value)
            case "anyOf" | "oneOf":
                relaxed["anyOf"] = _alternatives(value)
            case "allOf" | "prefixItems":
                relaxed[key] = [_relaxed(item) for item in value]
            case _:
                relaxed[key] = value
    if not _needs_reference(relaxed):
        return relaxed
    about = {key: relaxed[key] for key in _ABOUT if key in relaxed}
    return {**about, "anyOf": [_without(relaxed, _ABOUT), REFERENCE]}


def _alternatives(schemas: list[Any]) -> list[Any]:
    """Relax what stands side by side; one reference is enough for all of them."""
    plain = [item for item in schemas if isinstance(item, Mapping) and _needs_reference(item)]
    kept = [_untitled(item) if item in plain else _relaxed(item) for item in schemas]
    free_text = any(isinstance(item, Mapping) and _is_free_text(item) for item in schemas)
    return [*kept, REFERENCE] if plain and not free_text else kept


def _needs_reference(schema: Mapping[str, Any]) -> bool:
    if "enum" in schema or "const" in schema:
        return True
    types = schema.get("type")
    types = types if isinstance(types, list) else [types]
    if "string" in types:
        return not _is_free_text(schema)
    return bool({"integer", "number", "boolean"} & {each for each in types if isinstance(each, str)})


def _is_free_text(schema: Mapping[str, Any]) -> bool:
    types = schema.get("type")
    is_text = types == "string" or (isinstance(types, list) and "string" in types)
    return is_text and not {"enum", "const", "pattern", "format", "maxLength"} & set(schema)


def _untitled(schema: Mapping[str, Any]) -> Schema:
    return _without(schema, ("title",))


def _without(schema: Mapping[str, Any], keys: tuple[str, ...]) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
