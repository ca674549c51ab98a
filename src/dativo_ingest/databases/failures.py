"""What databases say when something fails, as Dativo's errors."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from dativo_plugin_sdk import DativoError, ResourceNotFoundError

End: TypeAlias = Literal["source", "target"]
"""Which part of a job messages and hints speak of."""

Kind: TypeAlias = tuple[type[DativoError], str | None]
"""A class and a hint, in which ``{end}`` stands for the end of the job."""

CodeT = TypeVar("CodeT")
"""By what a server tells its errors apart."""


@dataclass(frozen=True)
class DatabaseFailures(ABC, Generic[CodeT]):
    """What one end of a job makes of failures: classes by what happened, hints by who asked.

    ``own`` are kinds by the server's code of the error, that go before those of both ends.
    """

    end: End
    own: Mapping[CodeT, Kind] = field(default_factory=dict)

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn what the library raises in the block into a Dativo error; ``what`` begins its message."""
        raised = self.raised()
        try:
            yield
        except raised as error:
            raise self.as_dativo_error(error, what) from error

    @abstractmethod
    def raised(self) -> type[Exception]:
        """Give the class of the library's errors, which imports it."""

    @abstractmethod
    def as_dativo_error(self, error: Exception, what: str) -> DativoError:
        """Choose the class for what ``error``, one of the library's, says."""


def hinted(kind: Kind, end: End) -> Kind:
    """Write the end of the job into a kind's hint."""
    error, hint = kind
    return error, None if hint is None else hint.replace("{end}", end)


def require_package(package: str, what: str, *, hint: str) -> None:
    """See that a library is there.

    Args:
        package: The library's.
        what: What needs it.
        hint: How to come by it.

    Raises:
        ResourceNotFoundError: It is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ResourceNotFoundError(f"{what} needs the package {package}", hint=hint) from error
