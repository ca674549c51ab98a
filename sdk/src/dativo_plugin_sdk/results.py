"""What check and discover answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ConnectionTestResult:
    """What a connection check found.

    ``error_code`` is a code of the error tree or a free-form one such as ``CONNECTION_FAILED``.
    """

    success: bool
    message: str
    error_code: str | None = None
    details: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the result as JSON-able values, without an empty code or details."""
        document: dict[str, Any] = {"success": self.success, "message": self.message}
        if self.error_code:
            document["error_code"] = self.error_code
        if self.details:
            document["details"] = self.details
        return document


@dataclass(frozen=True)
class DiscoveryResult:
    """What a source has to offer.

    Each object has at least ``name`` and ``type``; ``columns`` is a list of ``{"name", "type"}`` that may add
    ``arrow_type``, ``nullable`` and ``fidelity``. ``warnings`` tells what could not be looked at.
    """

    objects: list[dict[str, Any]]
    metadata: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Give the result as JSON-able values."""
        return {"objects": self.objects, "metadata": self.metadata or {}}


@dataclass(frozen=True)
class Check:
    """One step of a connection check, run by the engine, which times it and translates its errors.

    ``run`` returns what it found or raises a Dativo error; later steps of the same end are skipped after a failure.
    """

    step: str
    run: Callable[[], ConnectionTestResult]
