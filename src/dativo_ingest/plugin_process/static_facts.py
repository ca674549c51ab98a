"""What a plugin says of its versions, read from its text and its metadata: nothing of the plugin is imported or run.

Only what is certain is told. A value that code would have to run for is None here, and whoever imports the class checks
it right afterwards, before any of its methods.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Final, TypeAlias

from dativo_plugin_sdk.errors import PluginLoadError

_THE_SDK = re.compile(r"dativo[-_.]+plugin[-_.]+sdk(?![-_.\w])", re.IGNORECASE)
_SDK_PACKAGES = frozenset({"dativo_plugin_sdk", "dativo_ingest"})
_SDK_CLASSES = frozenset({"BaseReader", "BaseWriter", "StreamReader", "StreamWriter"})
_PLAIN_BASES = frozenset({"ABC", "Generic", "Protocol", "object"})
_HARMLESS_DECORATORS = frozenset({"dataclass", "final", "override", "runtime_checkable"})
_FACTS = frozenset({"__version__", "requires_sdk", "state_version", "config_version"})
_MAX_HOPS = 16  # from an import or a base class to the next

_Value: TypeAlias = str | int | float | bool | None


class _Unset:
    """Nobody but the SDK's own class gives this attribute."""


class _Unknown:
    """Code would have to run to tell."""


_UNSET: Final = _Unset()
_UNKNOWN: Final = _Unknown()
_Found: TypeAlias = _Value | _Unset | _Unknown


@dataclass(frozen=True)
class StaticFacts:
    """What is certain of a plugin before any of it runs; None is unknown, or nothing that is asked for.

    Attributes:
        version: The plugin's own, from its class or else from its distribution.
        requires_sdk: A PEP 440 specifier; the class's and the distribution's together where there are both.
        requires_python: Of the distribution.
        state_version: Of the states that its reader makes.
        config_version: Of the configuration that it takes.
        version_is_certain: Whether no other version can come to light when the class is imported.
    """

    version: str | None = None
    requires_sdk: str | None = None
    requires_python: str | None = None
    state_version: int | None = None
    config_version: int | None = None
    version_is_certain: bool = False


def facts_of_file(path: Path, class_name: str) -> StaticFacts:
    """Read what the class says in the file's text; its bases may be in files beside it.

    A file that this Python cannot parse has no facts: the plugin may have a Python of its own.

    Raises:
        PluginLoadError: The file cannot be read.
    """
    return _facts_of_class(_Module(path, [path.resolve().parent]), class_name)


def facts_of_module(module: str, class_name: str, folders: Sequence[Path]) -> StaticFacts:
    """Read what the class says in the module's text, which is looked for in ``folders``.

    Raises:
        PluginLoadError: The module's file is there and cannot be read.
    """
    path = file_of_module(module, folders)
    return StaticFacts() if path is None else _facts_of_class(_Module(path, folders), class_name)


def facts_of_entry_point(entry: EntryPoint) -> StaticFacts:
    """Read what the class of an installed plugin says, and its distribution's metadata."""
    folders = [Path(folder or ".") for folder in sys.path]
    facts = facts_of_module(entry.module, entry.attr, folders)
    return facts if entry.dist is None else with_distribution(facts, entry.dist)


def with_distribution(facts: StaticFacts, distribution: Distribution) -> StaticFacts:
    """Add what a distribution's metadata tell: its version where the class has none, and what it requires."""
    metadata = distribution.metadata
    return replace(
        facts,
        version=distribution.version if facts.version is None else facts.version,
        requires_sdk=both(facts.requires_sdk, _required_sdk(distribution.requires or ())),
        # Who has imported the package importlib_metadata gets its classes here, which raise KeyError.
        requires_python=metadata["Requires-Python"] if "Requires-Python" in metadata else None,  # noqa: SIM401
    )


def both(one: str | None, other: str | None) -> str | None:
    """Give the specifier that asks for what either of them asks for."""
    parts = dict.fromkeys(part.strip() for text in (one, other) if text for part in text.split(","))
    return ",".join(parts) or None


def _required_sdk(requirements: Iterable[str]) -> str | None:
    for text in requirements:
        if not _THE_SDK.match(text):
            continue
        from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  slow to import

        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            return str(requirement.specifier) or None
    return None


def _facts_of_class(module: _Module, class_name: str) -> StaticFacts:
    found = {name: module.attribute(class_name, name, _MAX_HOPS) for name in _FACTS}
    version, requires_sdk = found["__version__"], found["requires_sdk"]
    return StaticFacts(
        version=None if isinstance(version, _Unset | _Unknown) else str(version),
        requires_sdk=requires_sdk if isinstance(requires_sdk, str) else None,
        state_version=_number(found["state_version"]),
        config_version=_number(found["config_version"]),
        version_is_certain=not isinstance(version, _Unknown),
    )


def _number(found: _Found) -> int | None:
    if isinstance(found, _Unset):
        return 1
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def file_of_module(module: str, folders: Sequence[Path]) -> Path | None:
    """Find a module's source as Python's path finder would, without importing the packages that it is in."""
    *packages, last = module.split(".")
    for package in packages:
        folders = [folder / package for folder in folders if (folder / package).is_dir()]
    for folder in folders:
        for path in (folder / last / "__init__.py", folder / f"{last}.py"):
            if path.is_file():
                return path
    return None


class _Module:
    """A module's text, taken apart."""

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        self._path = path
        self._folders = folders

    def attribute(self, class_name: str, name: str, hops: int) -> _Found:
        """Look a class attribute up as Python would, in the class and then in its bases."""
        cls = self._names.get(class_name)
        if hops and isinstance(cls, ast.ImportFrom):
            return self._imported(cls, class_name, name, hops - 1)
        if not hops or not isinstance(cls, ast.ClassDef) or _is_remade(cls) or (class_name, name) in self._set_later:
            return _UNKNOWN
        own = _bindings(cls.body)
        return self._value(own[name]) if name in own else self._inherited(cls, name, hops - 1)

    def _inherited(self, cls: ast.ClassDef, name: str, hops: int) -> _Found:
        inherited = [self._of_base(base, name, hops) for base in cls.bases]
        if any(isinstance(found, _Unknown) for found in inherited):
            return _UNKNOWN
        told = {found for found in inherited if not isinstance(found, _Unset)}
        if not told:
            return _UNSET
        return told.pop() if len(told) == 1 else _UNKNOWN

    def _of_base(self, base: ast.expr, name: str, hops: int) -> _Found:
        if isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            package = self._names.get(base.value.id)
            is_sdk = isinstance(package, ast.Import) and all(_is_sdk(each.name) for each in package.names)
            return _UNSET if base.attr in (_SDK_CLASSES if is_sdk else _PLAIN_BASES) else _UNKNOWN
        if not isinstance(base, ast.Name):
            return _UNKNOWN
        if base.id in _PLAIN_BASES and not isinstance(self._names.get(base.id), ast.ClassDef):
            return _UNSET
        return self.attribute(base.id, name, hops)

    def _imported(self, node: ast.ImportFrom, alias: str, name: str, hops: int) -> _Found:
        original = next(each.name for each in node.names if (each.asname or each.name) == alias)
        module = node.module or ""
        if not node.level and _is_sdk(module):
            return _UNSET if original in _SDK_CLASSES else _UNKNOWN
        if node.level:
            folder = self._path.resolve().parents[node.level - 1]
            path = file_of_module(module, [folder]) if module else folder / "__init__.py"
        else:
            path = file_of_module(module, self._folders)
        if path is None or not path.is_file():
            return _UNKNOWN
        return _Module(path, self._folders).attribute(original, name, hops)

    def _value(self, bound: _Binding) -> _Found:
        """Evaluate what an assignment gives: a constant, or a name of the module that stands for one."""
        value = bound.value if isinstance(bound, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Name):
            of_module = self._names.get(value.id)
            value = of_module.value if isinstance(of_module, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str | int | float | None):
            return value.value
        return _UNKNOWN

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            text = self._path.read_bytes()
        except OSError as error:
            raise PluginLoadError(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            with warnings.catch_warnings(action="ignore"):
                return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module([], [])

    @cached_property
    def _names(self) -> Mapping[str, _Binding]:
        return _bindings(self._tree.body)

    @cached_property
    def _set_later(self) -> frozenset[tuple[str, str]]:
        """Give the attributes that are assigned to a class outside of its body."""
        return frozenset(
            (node.value.id, node.attr)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
        )


_Binding: TypeAlias = ast.Assign | ast.AnnAssign | ast.ClassDef | ast.Import | ast.ImportFrom | _Unknown


def _bindings(body: Sequence[ast.stmt]) -> dict[str, _Binding]:
    """Give what binds each name of a scope; a name that is bound twice, or under a condition, is unknown."""
    found: dict[str, _Binding] = {}
    for statement in body:
        for name, bound in _bound_by(statement):
            found[name] = _UNKNOWN if name in found else bound
    return found


def _bound_by(statement: ast.stmt) -> Iterator[tuple[str, _Binding]]:
    match statement:
        case ast.ClassDef():
            yield statement.name, statement
        case ast.Import() | ast.ImportFrom():
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], statement
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name, statement
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield statement.name, _UNKNOWN
        case ast.AnnAssign(value=None):
            return
        case _:
            yield from ((name, _UNKNOWN) for node in ast.walk(statement) for name in _names_bound_by(node))


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.alias():
            yield node.asname or node.name.partition(".")[0]


def _is_remade(cls: ast.ClassDef) -> bool:
    """Say whether a decorator or a metaclass may give the class what its body does not show."""
    names = {getattr(node, "id", None) or getattr(node, "attr", None) for node in map(_called, cls.decorator_list)}
    return bool(names - _HARMLESS_DECORATORS) or any(
        keyword.arg == "metaclass" and getattr(keyword.value, "id", getattr(keyword.value, "attr", "")) != "ABCMeta"
        for keyword in cls.keywords
    )


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _is_sdk(module: str) -> bool:
    return module.partition(".")[0] in _SDK_PACKAGES
