"""Proof that a plugin keeps its promises: suites to subclass in a test, and what they need.

The suites are tests of pytest (``pip install 'dativo-plugin-sdk[testing]'``); a plugin for pytest comes with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dativo_plugin_sdk.lazy_names import lazily

if TYPE_CHECKING:
    from dativo_plugin_sdk.testing.cases import (
        OldState as OldState,
        ReaderCase as ReaderCase,
        StreamCase as StreamCase,
        WriterCase as WriterCase,
    )
    from dativo_plugin_sdk.testing.gaps import (
        Gap as Gap,
        GapKind as GapKind,
        NotApplicableError as NotApplicableError,
        NotDeclaredError as NotDeclaredError,
    )
    from dativo_plugin_sdk.testing.http_server import (
        Answer as Answer,
        HttpServer as HttpServer,
        Request as Request,
        serving as serving,
    )
    from dativo_plugin_sdk.testing.reader_suite import (
        ReaderSuite as ReaderSuite,
    )
    from dativo_plugin_sdk.testing.writer_suite import (
        WriterSuite as WriterSuite,
    )

_MODULES = {
    "cases": ("OldState", "ReaderCase", "StreamCase", "WriterCase"),
    "gaps": ("Gap", "GapKind", "NotApplicableError", "NotDeclaredError"),
    "http_server": ("Answer", "HttpServer", "Request", "serving"),
    "reader_suite": ("ReaderSuite",),
    "writer_suite": ("WriterSuite",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Answer",
    "Gap",
    "GapKind",
    "HttpServer",
    "NotApplicableError",
    "NotDeclaredError",
    "OldState",
    "ReaderCase",
    "ReaderSuite",
    "Request",
    "StreamCase",
    "WriterCase",
    "WriterSuite",
    "serving",
]

__getattr__, __dir__ = lazily(globals(), _HOME)
