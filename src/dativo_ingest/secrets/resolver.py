"""Which back end a reference means, and its answer.

* ``${secret:keyring:pg/password}`` names one: what stands before the first ``:`` is a back end where one of that name
  is installed; otherwise it belongs to the path (``arn:aws:…``).
* Without a name, the first back end of the job's ``secrets`` section is asked, and only that one.
* A job without that section asks ``file`` and, where that has no such secret, ``env``: the same job runs with a mount
  in a cluster and with variables on a laptop.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dativo_ingest.secrets.provider import SecretProvider
from dativo_ingest.secrets.redaction import REDACTOR, Redactor
from dativo_plugin_sdk.errors import (
    DativoError,
    InvalidConfigError,
    MissingConfigError,
    PluginExecutionError,
    PluginLoadError,
)

ENTRY_POINTS = "dativo.secrets"
DEFAULT_BACKENDS = ("file", "env")


class SecretResolver:
    """Resolves the ``${secret:…}`` of jobs; back ends are made when they are first asked."""

    def __init__(self, environ: Mapping[str, str], redactor: Redactor = REDACTOR) -> None:
        self._environ = environ
        self._redactor = redactor
        self._providers: dict[str, SecretProvider] = {}

    def hide(self, value: str) -> None:
        """Keep a value out of everything printed."""
        self._redactor.register(value)

    def __call__(self, reference: str, backends: Mapping[str, Mapping[str, Any]]) -> str:
        """Give the value of ``path#key`` or ``backend:path#key``, registered to be redacted.

        Raises:
            MissingConfigError: There is no such secret.
            InvalidConfigError: The reference or a back end's configuration is wrong, or a back end of the ``secrets``
                section is not installed.
            PluginLoadError: An installed back end cannot be loaded.
            DativoError: What a back end raises.
        """
        installed = _installed()
        unknown = [name for name in backends if name not in installed]
        if unknown:
            raise _not_installed(unknown[0], installed)
        asked, path = tuple(backends)[:1] or DEFAULT_BACKENDS, reference
        name, mark, rest = reference.partition(":")
        if mark and name in installed:
            asked, path = (name,), rest
        value = self._first(asked, path, backends, installed)
        self.hide(value)
        return value

    def _first(
        self,
        asked: tuple[str, ...],
        path: str,
        backends: Mapping[str, Mapping[str, Any]],
        installed: Mapping[str, EntryPoint],
    ) -> str:
        missing: list[MissingConfigError] = []
        for name in asked:
            provider = self._provider(name, backends.get(name, {}), installed)
            try:
                return _asked(provider, name, path)
            except MissingConfigError as error:
                missing.append(error)
        if len(missing) == 1:
            raise missing[0]
        raise MissingConfigError(
            "; ".join(error.message for error in missing),
            details={"reference": path, "backends": list(asked)},
            hint="; or ".join(error.hint for error in missing if error.hint) or None,
        )

    def _provider(self, name: str, config: Mapping[str, Any], installed: Mapping[str, EntryPoint]) -> SecretProvider:
        known = f"{name} {json.dumps(config, sort_keys=True, default=repr)}"
        if known not in self._providers:
            self._providers[known] = _made(name, config, self._environ, installed)
        return self._providers[known]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _not_installed(name: str, installed: Mapping[str, EntryPoint]) -> InvalidConfigError:
    close = difflib.get_close_matches(name, installed, n=1)
    return InvalidConfigError(
        f"there is no secret back end {name!r}" + (f", did you mean {close[0]}" if close else ""),
        details={"backend": name, "installed": sorted(installed)},
        hint=f"installed are {', '.join(sorted(installed))}",
    )


def _made(
    name: str, config: Mapping[str, Any], environ: Mapping[str, str], installed: Mapping[str, EntryPoint]
) -> SecretProvider:
    try:
        provider_class = installed[name].load()
    except (ImportError, AttributeError) as error:
        raise PluginLoadError(
            f"the secret back end {name!r} ({installed[name].value}) cannot be loaded: {error}",
            details={"backend": name},
        ) from error
    try:
        provider: SecretProvider = provider_class(config, environ)
    except DativoError:
        raise
    except Exception as error:  # noqa: BLE001  a foreign plugin; its text may hold its configuration
        raise _foreign(error, name) from None
    return provider


def _asked(provider: SecretProvider, name: str, path: str) -> str:
    try:
        value = provider.get(path)
    except DativoError:
        raise
    except Exception as error:  # noqa: BLE001  a foreign plugin; its text may hold the secret
        raise _foreign(error, name) from None
    if not isinstance(value, str):
        raise PluginExecutionError(
            f"the secret back end {name!r} gave {type(value).__name__}, not text", details={"backend": name}
        )
    return value


def _foreign(error: Exception, name: str) -> PluginExecutionError:
    kind = type(error).__name__
    return PluginExecutionError(
        f"the secret back end {name!r} failed: {kind}", details={"backend": name, "original_error": kind}
    )
