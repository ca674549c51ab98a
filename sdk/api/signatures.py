"""What of the SDK its users hold on to, as plain values: public names, what they are called with and what they give."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

MODULES = ("dativo_plugin_sdk", "dativo_plugin_sdk.testing")
"""The modules whose ``__all__`` is public."""
_PACKAGE = "dativo_plugin_sdk"
_UNRECORDED = frozenset({"__version__"})  # of the package: it is what a record is named by
_NOTHING = object()
_SPECIAL = frozenset({"__version__"})  # of classes: public in spite of its name


def signatures(modules: tuple[str, ...] = MODULES) -> dict[str, Any]:
    """Describe every public name of these modules, as JSON values."""
    found = {}
    for module_name in modules:
        module = importlib.import_module(module_name)
        for name in sorted(set(module.__all__) - _UNRECORDED):
            found[f"{module_name}.{name}"] = described(getattr(module, name))
    return found


def described(value: Any) -> dict[str, Any]:
    """Describe one name."""
    if inspect.isclass(value) and value.__module__.startswith(_PACKAGE):
        return _enum(value) if issubclass(value, enum.Enum) else _class(value)
    if inspect.isfunction(value):
        return {"kind": "function", **_callable(value)}
    if inspect.isclass(value) or get_origin(value) is not None or hasattr(value, "__args__"):
        return {"kind": "alias", "parts": _parts_of(value)}
    return {"kind": "constant", "value": _shown(value)}


def _enum(value: type[enum.Enum]) -> dict[str, Any]:
    return {"kind": "enum", "members": {member.name: member.value for member in value}, "bases": _bases(value)}


def _class(value: type) -> dict[str, Any]:
    description: dict[str, Any] = {
        "kind": "class",
        "bases": _bases(value),
        "is_subclassed": inspect.isabstract(value) or _is_abc(value),
        "made_by": _made_by(value),
        "members": dict(sorted(_members(value))),
    }
    return description


def _made_by(value: type) -> list[dict[str, Any]]:
    """Give the parameters of the constructor; those of a model are its fields."""
    if issubclass(value, BaseModel):
        return [
            {"name": name, "kind": "keyword_only", "type": _annotation(value, name), "default": _model_default(info)}
            for name, info in value.model_fields.items()
        ]
    if getattr(value, "_is_protocol", False):
        return []  # nobody makes one
    try:
        return _parameters(inspect.signature(value))
    except ValueError:  # a built-in type's
        return []


def _annotation(value: type, name: str) -> str:
    return next((_text(vars(cls)["__annotations__"][name]) for cls in value.__mro__ if _annotates(cls, name)), "")


def _annotates(cls: type, name: str) -> bool:
    return name in vars(cls).get("__annotations__", {})


def _model_default(info: FieldInfo) -> str | None:
    if info.is_required():
        return None
    return f"{_shown(info.default_factory)}()" if info.default_factory is not None else _shown(info.default)


def _bases(value: type) -> list[str]:
    """Give the ancestors that somebody may catch or check for; those of the SDK that are not public do not count."""
    public = set(importlib.import_module(_PACKAGE).__all__)
    return sorted(
        f"{base.__module__}.{base.__qualname__}"
        for base in value.__mro__[1:]
        if base is not object and (not base.__module__.startswith(_PACKAGE) or base.__name__ in public)
    )


def _is_abc(value: type) -> bool:
    return any(base.__module__ == "abc" for base in value.__mro__) or getattr(value, "_is_protocol", False)


def _members(value: type) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give methods and attributes, those of the SDK's bases among them: where they are written does not matter."""
    seen = set()
    for cls in value.__mro__:
        if not cls.__module__.startswith(_PACKAGE):
            continue
        annotations = {key: text for key, text in vars(cls).get("__annotations__", {}).items() if _is_public(key)}
        for name in [*vars(cls), *annotations]:
            if name in seen or not _is_public(name):
                continue
            seen.add(name)
            yield name, _member(value, name, vars(cls).get(name, _NOTHING), annotations.get(name))


def _is_public(name: str) -> bool:
    return name in _SPECIAL or not name.startswith(("_", "test_"))


def _member(value: type, name: str, raw: Any, annotation: Any) -> dict[str, Any]:
    is_abstract = name in getattr(value, "__abstractmethods__", ())
    match raw:
        case property(fget=getter):
            return {"kind": "property", "type": _text(getter.__annotations__.get("return")), "abstract": is_abstract}
        case classmethod() | staticmethod():
            return {"kind": type(raw).__name__, **_callable(raw.__func__), "abstract": is_abstract}
        case _ if inspect.isfunction(raw):
            return {"kind": "method", **_callable(raw), "abstract": is_abstract}
        case _:
            has_value = raw is not _NOTHING and not inspect.ismemberdescriptor(raw)
            default = _field_default(value, name) or (_shown(raw) if has_value else None)
            return {"kind": "attribute", "type": _text(annotation), "value": default}


def _field_default(value: type, name: str) -> str | None:
    fields = {field.name: field for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    factory = fields[name].default_factory if name in fields else dataclasses.MISSING
    return None if factory is dataclasses.MISSING else f"{factory.__qualname__}()"


def _callable(function: Any) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {"parameters": _parameters(signature), "returns": _text(signature.return_annotation)}


def _parameters(signature: inspect.Signature) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "kind": parameter.kind.name.lower(),
            "type": _text(parameter.annotation),
            "default": None if parameter.default is inspect.Parameter.empty else _shown(parameter.default),
        }
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]


def _parts_of(value: Any) -> list[str]:
    """Give the members of a union or a literal, else the type itself."""
    arguments = get_args(value) if "Union" in str(get_origin(value)) or "Literal" in str(get_origin(value)) else ()
    return sorted(repr(part) if isinstance(part, str) else _text(part) for part in arguments) or [_text(value)]


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty or annotation is None:
        return ""
    if isinstance(annotation, str):
        return annotation
    return inspect.formatannotation(annotation)


def _shown(value: Any) -> str:
    """Write a default so that it is the same in every process."""
    if isinstance(value, frozenset | set):
        return f"{type(value).__name__}({sorted(map(_shown, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_shown(key)}: {_shown(item)}' for key, item in value.items())}}}"
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in text else text
