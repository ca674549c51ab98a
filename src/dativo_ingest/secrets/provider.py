"""What a secret back end is: a class that the entry points of ``dativo.secrets`` name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class SecretProvider(Protocol):
    """Looks up secrets in one place; made once per job, used from one thread at a time.

    A package offers one as an entry point, under the name that jobs use::

        [project.entry-points."dativo.secrets"]
        vault = "dativo_vault:VaultSecrets"
    """

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """Take the back end's configuration; nothing is looked up yet.

        Args:
            config: The job's ``secrets: {<name>: {…}}``, empty where it has none.
            environ: The process's variables, for what a back end finds there (addresses, tokens).

        Raises:
            InvalidConfigError: A key or value that is not allowed.
        """

    def get(self, reference: str) -> str:
        """Give the value of ``path`` or ``path#key``. No error repeats a value.

        Raises:
            MissingConfigError: There is no such secret; the message names the reference.
            DativoError: Of the class that says whose fault it is and whether trying again helps.
        """
        ...
