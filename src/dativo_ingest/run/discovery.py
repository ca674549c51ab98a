"""What a job's source has to offer."""

from __future__ import annotations

from typing import Any, cast

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run.ends import open_source
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.report import DISCOVER
from dativo_ingest.secrets.redaction import redact_document

_COLUMN = {"name": None, "type": None, "arrow_type": None, "nullable": None, "fidelity": None}
_OBJECT: dict[str, Any] = {
    "name": None,
    "namespace": None,
    "type": None,
    "estimated_rows": None,
    "primary_key": [],
    "cursor_candidates": [],
    "sync_modes": [],
    "columns": [],
}


def discover_job(loaded: LoadedJob, pattern: str | None = None) -> dict[str, Any]:
    """Ask the source for its objects and give the discover document.

    Raises:
        DativoError: The source cannot be asked.
    """
    hosting = Hosting()
    with open_source(loaded, hosting) as source:
        result = source.reader.discover(pattern)
        document = {
            "schema": DISCOVER,
            "source": {"connector": source.connector.name, "version": source.connector.version},
            "isolation": hosting.isolation,
            "plugins": hosting.held(),
            "metadata": result.metadata or {},
            "objects": [
                {**_OBJECT, **item, "columns": [{**_COLUMN, **column} for column in item.get("columns") or []]}
                for item in result.objects
            ],
            "warnings": list(result.warnings),
        }
    return cast("dict[str, Any]", redact_document(document))
