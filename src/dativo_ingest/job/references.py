r"""References in a job's values: ``${NAME}``, ``${env:NAME}``, ``${secret:path#key}``, ``${file:path}``.

What holds, in full:

* References stand in values, never in keys, and are looked for after the YAML is parsed: a value cannot change the
  file's shape. A value may hold several, with text around them; what comes out is always text, and the models turn it
  into a number or a boolean where one is wanted.
* ``${NAME}`` and ``${env:NAME}`` are one variable of the environment; ``:-`` brings a default for one that is not set
  or empty, and the default may hold references again. ``NAME`` is letters, digits and ``_``.
* ``${secret:path}``, ``${secret:path#key}`` and ``${secret:backend:path#key}`` ask the secret back ends, which decide
  what a path is. ``${file:path}`` is a file's text (UTF-8) without one line end at its end, relative to the job file.
  Both have no default: a wrong secret must not pass for a right one. Their path may hold references
  (``${secret:${STAGE}/password}``).
* ``$${`` is the text ``${``; any other ``$`` is itself. A ``${`` that begins no reference is an error.
* What comes out of a secret or a file is used as it is. The value of a variable may refer to other variables, as is
  usual in ``.env`` files: ``${NAME}``, ``${env:NAME}`` and their defaults are replaced in it, ``$${`` is unescaped, and
  anything else in it, ``${secret:…}`` and ``${file:…}`` too, is text. A variable that leads back to itself is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias
from urllib.parse import unquote

from dativo_ingest.job.problems import Loc, Problem, dotted
from dativo_ingest.job.yaml_nodes import Document
from dativo_plugin_sdk.errors import ConfigurationError, DativoError, InvalidConfigError, MissingConfigError

MAX_NESTING = 20
"""How deep references may stand in references, and variables lead to variables."""
MAX_VALUE_CHARACTERS = 2**20
"""The longest value that references may make."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KIND = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(?!-)")
_IN_VARIABLE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}"
)
_URL_LOGIN = re.compile(r"://[^/?#\s:@]*:([^/?#\s]+)@")
_SECRET_REFERENCE = re.compile(r"(?<!\$)\$\{secret:")
_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:pass|passwords?|passwd|pwd|passphrase|secret|token|key|dsn)$|(?:password|secret|token|key)$",
    re.IGNORECASE,
)
"""Keys within credentials whose values are secrets also where they are written out."""
_PLAIN_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:password|passwd|passphrase|client_?secret|(?:access|auth|bearer)_?token|"
    r"(?:api|private|secret|secret_?access)_?key)$",
    re.IGNORECASE,
)
"""The same outside credentials, where a bare ``key`` or ``token`` is more often a column or a parameter."""

Backends: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The job's ``secrets`` section: each back end's configuration, in the order of the file."""


class ResolveSecret(Protocol):
    """Looks secrets up, and keeps what it is told to hide out of everything printed."""

    def __call__(self, reference: str, backends: Backends) -> str:
        """Give the value of ``path#key`` or ``backend:path#key``; the caller hides it."""
        ...

    def hide(self, value: str) -> None:
        """Never show this value."""
        ...


@dataclass(frozen=True)
class Reference:
    """One ``${…}``: ``body`` is the variable's name, or the path of a secret or file."""

    kind: Literal["env", "secret", "file"]
    body: Template
    default: Template | None = None


Template: TypeAlias = tuple[str | Reference, ...]
"""Text and references in order."""


class ReferenceSyntaxError(ValueError):
    """A ``${`` that begins no reference; the text says why."""


def parse_template(text: str) -> Template:
    """Split a value into text and references.

    Raises:
        ReferenceSyntaxError: A ``${`` begins no reference.
    """
    return _Parser(text).template()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def template(self, depth: int = 0) -> Template:
        """Read up to the end, or within a reference up to its ``}``, which is left to the caller."""
        parts: list[str | Reference] = []
        plain: list[str] = []
        while self.at < len(self.text) and not (depth and self.text[self.at] == "}"):
            if self._take("$${"):
                plain.append("${")
            elif self._take("${"):
                if plain:
                    parts.append("".join(plain))
                    plain = []
                parts.append(self._reference(depth + 1))
            else:
                plain.append(self.text[self.at])
                self.at += 1
        if plain:
            parts.append("".join(plain))
        return tuple(parts)

    def _reference(self, depth: int) -> Reference:
        if depth > MAX_NESTING:
            raise ReferenceSyntaxError(f"references nested more than {MAX_NESTING} deep")
        kind = _KIND.match(self.text, self.at)
        word = kind[1] if kind else "env"
        self.at = kind.end() if kind else self.at
        match word:
            case "env":
                reference = self._variable(depth)
            case "secret" | "file":
                reference = Reference(word, self.template(depth))
            case _:
                raise ReferenceSyntaxError("there is no such kind of reference; there are env, secret and file")
        if not self._take("}"):
            raise ReferenceSyntaxError("a reference is not closed: its } is missing")
        if reference.kind != "env":
            self._refuse_odd_path(reference)
        return reference

    def _variable(self, depth: int) -> Reference:
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise ReferenceSyntaxError("a variable's name must follow ${ (letters, digits, _)")
        self.at = name.end()
        if self._take(":-"):
            return Reference("env", (name[0],), self.template(depth))
        if self.at < len(self.text) and self.text[self.at] != "}":
            raise ReferenceSyntaxError("after a variable's name must come } or :- and a default")
        return Reference("env", (name[0],))

    def _refuse_odd_path(self, reference: Reference) -> None:
        texts = [part for part in reference.body if isinstance(part, str)]
        if not reference.body or (len(texts) == len(reference.body) and not "".join(texts).strip()):
            raise ReferenceSyntaxError(f"a path must follow ${{{reference.kind}:")
        if any(":-" in text for text in texts):
            raise ReferenceSyntaxError(f"a {reference.kind} reference has no default")

    def _take(self, expected: str) -> bool:
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True


class _Unresolved(Exception):  # noqa: N818  never leaves this module
    """A reference that gives no value, and what to say of it."""

    def __init__(self, error: ConfigurationError) -> None:
        super().__init__(error.message)
        self.error = error


class _Resolver:
    """Gives the text of templates; each variable, secret and file is looked up once."""

    def __init__(
        self,
        environ: Mapping[str, str],
        read_file: Callable[[str], str],
        secret: Callable[[str], str],
        hide: Callable[[str], None],
    ) -> None:
        self._environ = environ
        self._read_file = read_file
        self._secret = secret
        self._hide = hide
        self._known: dict[tuple[str, str], str] = {}

    def text(self, template: Template, *, hide_variables: bool, path: tuple[str, ...] = ()) -> str:
        """Fill in a template; ``path`` is the variables whose defaults it stands in."""
        text = ""
        for part in template:
            text += part if isinstance(part, str) else self._value(part, hide_variables=hide_variables, path=path)
            _refuse_long(text)
        return text

    def _value(self, reference: Reference, *, hide_variables: bool, path: tuple[str, ...]) -> str:
        body = self.text(reference.body, hide_variables=hide_variables, path=path)
        if reference.kind == "env":
            value = self._variable(body, path)
            if value is None or (not value and reference.default is not None):
                if reference.default is None:
                    raise _Unresolved(_not_set(body, ()))
                return self.text(reference.default, hide_variables=hide_variables, path=(*path, body))
            if hide_variables:
                self._hide(value)
            return value
        if (reference.kind, body) not in self._known:
            value = self._secret(body) if reference.kind == "secret" else self._read_file(body)
            _refuse_long(value)
            self._hide(value)
            self._known[reference.kind, body] = value
        return self._known[reference.kind, body]

    def _variable(self, name: str, path: tuple[str, ...]) -> str | None:
        if name in path:
            raise _Unresolved(
                InvalidConfigError(
                    f"cyclic reference: {' → '.join([*path[path.index(name) :], name])}",
                    hint="give one of these variables a value that does not lead back to itself; "
                    "a value that means the text ${ writes $${",
                )
            )
        if len(path) > MAX_NESTING:
            raise _Unresolved(
                InvalidConfigError(f"variables lead to variables more than {MAX_NESTING} deep: {path[0]}")
            )
        written = self._environ.get(name)
        if written is None or "${" not in written:
            return written
        if ("env", name) not in self._known:
            self._known["env", name] = self._filled_in(written, (*path, name))
        return self._known["env", name]

    def _filled_in(self, written: str, path: tuple[str, ...]) -> str:
        def value_of(found: re.Match[str]) -> str:
            if found["escape"]:
                return "${"
            value = self._variable(found["name"], path)
            if value is None or (not value and found["default"] is not None):
                if found["default"] is None:
                    raise _Unresolved(_not_set(found["name"], path))
                return found["default"]
            return value

        parts: list[str] = []
        at = size = 0
        for found in _IN_VARIABLE.finditer(written):
            parts += [written[at : found.start()], value_of(found)]
            size += len(parts[-1]) + len(parts[-2])
            if size > MAX_VALUE_CHARACTERS:
                break
            at = found.end()
        text = "".join(parts) + written[at:]
        _refuse_long(text)
        return text


def _not_set(name: str, path: tuple[str, ...]) -> MissingConfigError:
    if path:
        return MissingConfigError(
            f"environment variable {name} is not set; the value of {path[-1]} refers to it",
            hint=f"set {name}, or write $${{ in the value of {path[-1]} where the text ${{ is meant",
        )
    return MissingConfigError(
        f"environment variable {name} is not set",
        hint=f"set {name}, or give a default: ${{{name}:-…}}; where the text ${{ is meant, write $${{",
    )


def _refuse_long(text: str) -> None:
    if len(text) > MAX_VALUE_CHARACTERS:
        raise _Unresolved(InvalidConfigError(f"references make more than {MAX_VALUE_CHARACTERS} characters"))


@dataclass
class Resolved:
    """A document's data with its references filled in.

    Attributes:
        data: The document's data; empty text stands where a reference gave nothing.
        problems: What gave nothing and why, each with the position of its value.
        failed: The ways to those values.
    """

    data: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    failed: set[Loc] = field(default_factory=set)


def resolve_references(
    document: Document,
    *,
    environ: Mapping[str, str],
    resolve_secret: ResolveSecret,
    read_file: Callable[[str], str],
    place_backends: Callable[[Backends], Backends] = lambda backends: backends,
) -> Resolved:
    """Fill in every reference of a job's data.

    Hidden from everything printed: what secrets and files gave, wherever it goes; variables that go into credentials,
    into ``secrets`` or under keys such as ``password`` and ``api_key``, and text written there; passwords within URLs.

    Args:
        document: The job as YAML gave it.
        environ: The variables.
        resolve_secret: Gives a secret, and hides values.
        read_file: Gives a file's text; relative paths are its affair.
        place_backends: What is done to the ``secrets`` section before the back ends get it.

    Raises:
        DativoError: A secret back end failed in a way that is not the job's fault; the message tells for which value.
            What is the job's fault is in ``problems``.
    """
    walk = _Walk(document, environ, resolve_secret, read_file)
    resolved = Resolved({})
    written = document.data
    walk.check_keys(written, ())
    if "secrets" in written:
        resolved.data["secrets"] = walk.filled_in(written["secrets"], ("secrets",))
        walk.backends = place_backends(_mappings(resolved.data["secrets"]))
        walk.backends_failed = bool(walk.failed)
    for key, value in written.items():
        if key != "secrets":
            resolved.data[key] = walk.filled_in(value, (key,))
    resolved.data = {key: resolved.data[key] for key in written}
    resolved.problems, resolved.failed = walk.problems, walk.failed
    return resolved


class _Walk:
    """Goes through the data of one document, filling in and collecting what fails."""

    def __init__(
        self,
        document: Document,
        environ: Mapping[str, str],
        resolve_secret: ResolveSecret,
        read_file: Callable[[str], str],
    ) -> None:
        self._document = document
        self._resolve_secret = resolve_secret
        self._resolver = _Resolver(environ, read_file, self._secret, resolve_secret.hide)
        self._in_backends = False
        self.backends: Backends = {}
        self.backends_failed = False
        self.problems: list[Problem] = []
        self.failed: set[Loc] = set()

    def filled_in(self, value: object, loc: Loc) -> Any:
        """Give a copy of ``value`` with its references filled in."""
        self._in_backends = loc[0] == "secrets"
        return self._filled_in(value, loc)

    def _filled_in(self, value: object, loc: Loc) -> Any:
        if isinstance(value, dict):
            self.check_keys(value, loc)
            return {key: self._filled_in(item, (*loc, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled_in(item, (*loc, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            if _is_secret(loc) and isinstance(value, int | float) and not isinstance(value, bool):
                self._resolve_secret.hide(str(value))
            return value
        return self._text(value, loc)

    def _text(self, written: str, loc: Loc) -> str:
        secret = _is_secret(loc)
        try:
            template = parse_template(written) if "${" in written else (written,)
            text = self._resolver.text(template, hide_variables=secret or _is_credential(loc))
        except ReferenceSyntaxError as error:
            hint = "references are ${NAME}, ${NAME:-default}, ${secret:path#key}, ${file:path}; the text ${ is $${"
            self._fail(loc, str(error), hint)
            return ""
        except _Unresolved as unresolved:
            self._fail(loc, unresolved.error.message, unresolved.error.hint, type(unresolved.error))
            return ""
        except ConfigurationError as error:
            self._fail(loc, error.message, error.hint, type(error))
            return ""
        except DativoError as error:
            position = self._document.values[loc]
            error.message = f"{self._document.name}:{position.line}:{position.column} {dotted(loc)}: {error.message}"
            raise
        if secret:
            self._resolve_secret.hide(text)
        for password in _URL_LOGIN.findall(text):
            self._resolve_secret.hide(password)
            self._resolve_secret.hide(unquote(password))
        return text

    def _secret(self, reference: str) -> str:
        if self._in_backends:
            raise InvalidConfigError("a secret back end's own configuration cannot refer to secrets")
        if self.backends_failed:
            raise InvalidConfigError("not looked up: the configuration of the secret back ends is not complete")
        return self._resolve_secret(reference, self.backends)

    def check_keys(self, mapping: Mapping[str, Any], loc: Loc) -> None:
        """Refuse references in keys."""
        for key in mapping:
            if "${" in key.replace("$${", ""):
                message = "references are filled in within values, not in keys"
                self.problems.append(Problem((*loc, key), message, self._document.position((*loc, key))))

    def _fail(
        self, loc: Loc, message: str, hint: str | None, error_class: type[ConfigurationError] = InvalidConfigError
    ) -> None:
        self.failed.add(loc)
        self.problems.append(Problem(loc, message, self._document.values[loc], hint, error_class))


def secret_places(document: Document, section: Loc) -> Iterator[Loc]:
    """Find the values of a section that hold a secret: a reference to one, a key that says so, a URL's password."""
    value: Any = document.data
    for part in section:
        value = value.get(part) if isinstance(value, dict) else None
    waiting: list[tuple[Loc, object]] = [(section, value)]
    while waiting:
        loc, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*loc, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*loc, index), item) for index, item in enumerate(value)]
        elif isinstance(value, str) and (
            _is_secret(loc) or _SECRET_REFERENCE.search(value) or _URL_LOGIN.search(value)
        ):
            yield loc


def _is_credential(loc: Loc) -> bool:
    return loc[0] == "secrets" or loc[1:2] == ("credentials",)


def _is_secret(loc: Loc) -> bool:
    """Say whether a value's nearest key names it a secret: ``password``, ``api_key``, ``secret_access_key``."""
    keys = [part for part in loc if isinstance(part, str)]
    if keys[0] not in {"source", "target", "secrets"}:
        return False
    return bool((_SECRET_KEY if _is_credential(loc) else _PLAIN_SECRET_KEY).search(keys[-1]))


def _mappings(section: object) -> Backends:
    if not isinstance(section, dict):
        return {}
    return {name: config or {} for name, config in section.items() if config is None or isinstance(config, dict)}
