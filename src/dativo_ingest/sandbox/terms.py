"""What one tenant's plugins may have at most, and where the operator says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Generic, TypeVar

from dativo_ingest.sandbox.controls import Degradable
from dativo_ingest.sandbox.hosts import Host
from dativo_ingest.sandbox.levels import Backend, Isolation
from dativo_ingest.sandbox.limits import LIMITS

Value = TypeVar("Value")

_SHA256 = "sha256:"


@dataclass(frozen=True)
class Said(Generic[Value]):
    """What the operator says of one thing.

    Attributes:
        value: What is allowed; for a list, None is anything.
        where: ``policy.yaml:12:14 tenants.acme.network``; where nothing is said of it, what that means.
    """

    value: Value
    where: str = ""


@dataclass(frozen=True)
class SandboxTerms:
    """How a tenant's plugins are kept from the machine, as far as the operator says so.

    Attributes:
        backend: What holds them; None is the mode's own.
        min: The least that must be achieved; None is what the mode asks for.
        runtime: The container engine's runtime; None is its default.
        engine: The container engine's socket; None is to be looked for.
        image: The image that plugins run in, by its digest.
        allow_degraded: Controls that may be weaker, or absent; None is what may be where nobody says anything.
        trusted: Hashes of plugins that may run without a sandbox: ``sha256:HASH``.
    """

    backend: Said[Backend | None] = Said(None)
    min: Said[Isolation | None] = Said(None)
    runtime: Said[str | None] = Said(None)
    engine: Said[str | None] = Said(None)
    image: Said[str | None] = Said(None)
    allow_degraded: Said[tuple[Degradable, ...] | None] = Said(None)
    trusted: Said[tuple[str, ...]] = Said(())


@dataclass(frozen=True)
class Terms:
    """What a tenant's plugins may have at most; as it stands here, without a policy, whatever they ask for.

    Attributes:
        tenant: Whose they are.
        jobs: The folders that the jobs lie in.
        allow: The plugins that may run.
        deny: The plugins that may not.
        needs_manifest: Whether a plugin must have one.
        network: Hosts with ports.
        private: Ranges of private addresses that may be reached.
        sandbox: How they are kept from the machine.
        read: Absolute paths of files and folders.
        write: The same, for writing.
        secrets: Keys of credentials.
        subprocess: Whether other programs may be started.
        limits: By the names of `LIMITS`.
        environment: Variables that every plugin is given.
        audit: Where the audit log goes; None is beside the job.
    """

    tenant: str = "default"
    jobs: Said[tuple[str, ...] | None] = Said(None)
    allow: Said[tuple[str, ...] | None] = Said(None)
    deny: Said[tuple[str, ...]] = Said(())
    needs_manifest: Said[bool] = Said(value=False)
    network: Said[tuple[Host, ...] | None] = Said(None)
    private: Said[tuple[str, ...]] = Said(())
    sandbox: SandboxTerms = SandboxTerms()
    read: Said[tuple[str, ...] | None] = Said(None)
    write: Said[tuple[str, ...] | None] = Said(None)
    secrets: Said[tuple[str, ...] | None] = Said(None)
    subprocess: Said[bool] = Said(value=True)
    limits: Mapping[str, Said[float]] = field(default_factory=lambda: dict.fromkeys(LIMITS, Said(math.inf)))
    environment: Said[tuple[str, ...]] = Said(())
    audit: Path | None = None

    @property
    def is_said(self) -> bool:
        """Whether there is a policy at all."""
        return bool(self.network.where)

    def refused_by(self, name: str, sha256: str) -> str | None:
        """Say what keeps a plugin from running at all; None where it may."""
        denied = next((entry for entry in self.deny.value if _names(entry, name, sha256)), None)
        if denied is not None:
            return f"{self.deny.where} has {denied}"
        if self.allow.value is None or any(_names(entry, name, sha256) for entry in self.allow.value):
            return None
        return f"{self.allow.where} does not have it"


def _names(entry: str, name: str, sha256: str) -> bool:
    """Say whether ``name``, ``name@sha256:HASH`` or ``sha256:HASH`` is this plugin."""
    before, separator, hashed = entry.rpartition(_SHA256)
    if not separator:
        return fnmatchcase(name, entry)
    pattern = before.removesuffix("@")
    return hashed == sha256 and (not pattern or fnmatchcase(name, pattern))
