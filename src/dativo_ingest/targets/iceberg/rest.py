"""A REST catalog whose requests end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyiceberg.catalog.rest import RestCatalog
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session


class _TimedAdapter(HTTPAdapter):
    """Gives every request that names no time-out this one."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        super().__init__()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send a request."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout_s
        return super().send(request, *args, **kwargs)


class TimedRestCatalog(RestCatalog):
    """A REST catalog that gives up waiting for an answer after ``timeout_s``."""

    def __init__(self, name: str, *, timeout_s: float, **properties: str) -> None:
        self._timeout_s = timeout_s
        super().__init__(name, **properties)

    def _config_headers(self, session: Session) -> None:
        # The first thing that pyiceberg does with a new session: also the request for a token comes after it.
        super()._config_headers(session)
        for prefix in ("https://", "http://"):
            session.mount(prefix, _TimedAdapter(self._timeout_s))
