"""What the tests of all targets share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dativo_plugin_sdk import CommitRequest


@pytest.fixture
def request_of() -> Callable[..., CommitRequest]:
    def make(generation: int, commit_id: str | None = None) -> CommitRequest:
        return CommitRequest(
            commit_id=commit_id or f"commit-{generation}",
            expected_generation=generation,
            state={"version": 1, "at": generation},
            committed_at="2026-01-01T00:00:00.000+00:00",
        )

    return make
