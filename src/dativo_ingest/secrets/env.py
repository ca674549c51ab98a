"""Secrets in environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dativo_ingest.secrets.documents import pick, split_reference
from dativo_plugin_sdk.config import PluginConfig, parse
from dativo_plugin_sdk.errors import MissingConfigError


class EnvSecretsConfig(PluginConfig):
    """``secrets: {env: {prefix: …}}``."""

    prefix: str = ""
    """What the names of the variables begin with, such as ``DATIVO_SECRET_``."""


class EnvSecrets:
    """Looks ``${secret:pg/password}`` up as ``PG_PASSWORD``.

    The name of the variable is the prefix and the path; where there is none under the path as it is written, the path
    in capitals with ``_`` for everything but letters and digits.
    """

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._prefix = parse(EnvSecretsConfig, dict(config), where="secrets.env").prefix
        self._environ = environ

    def get(self, reference: str) -> str:
        """Give the variable's value.

        Raises:
            MissingConfigError: There is no such variable, or no such key in it.
        """
        path, key = split_reference(reference)
        names = dict.fromkeys([self._prefix + path, self._prefix + re.sub("[^A-Za-z0-9]", "_", path).upper()])
        for name in names:
            if name in self._environ:
                return pick(self._environ[name], key, reference)
        raise MissingConfigError(
            f"secret {reference!r}: environment variable {list(names)[-1]} is not set",
            details={"reference": reference, "variable": list(names)[-1]},
            hint=f"set {list(names)[-1]}",
        )
