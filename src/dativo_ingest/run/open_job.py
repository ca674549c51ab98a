"""A job file with its references resolved: where the job, the secrets and the environment meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dativo_ingest.job.load import LoadedJob, load_job
from dativo_ingest.secrets.resolver import SecretResolver


def open_job(path: str | Path, environ: Mapping[str, str]) -> LoadedJob:
    """Load a job file; every secret it names is looked up now and never shows in anything printed later.

    Raises:
        ConfigurationError: Of the narrowest kind, with file, line and column.
    """
    return load_job(path, environ=environ, resolve_secret=SecretResolver(environ))
