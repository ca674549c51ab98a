"""Dativo: headless, config-driven data ingestion.

The public names of the plugin interface, re-exported from the SDK and looked up on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dativo_ingest.errors import (
        AuthenticationError as AuthenticationError,
    )
    from dativo_ingest.errors import *  # noqa: F403
    from dativo_ingest.plugins import *  # noqa: F403

__version__ = "0.1.0"
