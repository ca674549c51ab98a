"""``python -m dativo_ingest`` is ``dativo``."""

from __future__ import annotations

from dativo_ingest.cli import main

if __name__ == "__main__":
    main()
