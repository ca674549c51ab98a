"""Where reading stopped, as a simple plugin reads and sets it."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any


class IncrementalStateManager:
    """The state of one stream during one run.

    ``get`` and ``set`` work on a copy that the engine takes with the batches yielded so far: nothing is remembered
    unless they are committed. The static methods below keep a JSON file instead, as plugins of earlier releases did by
    themselves; that file knows nothing of commits.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._state: dict[str, Any] = copy.deepcopy(state) if state else {}
        self._changed = False

    def get(self, key: str, default: Any = None) -> Any:
        """Read one value."""
        return self._state.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Set one JSON value; it is true once the batches yielded before are committed."""
        self._state[key] = value
        self._changed = True

    def get_state(self) -> dict[str, Any]:
        """Give a copy of the whole state."""
        return copy.deepcopy(self._state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Replace the whole state."""
        self._state = copy.deepcopy(state)
        self._changed = True

    @property
    def changed(self) -> bool:
        """Whether anything was set since `take_changes`."""
        return self._changed

    def take_changes(self) -> dict[str, Any]:
        """Give a copy of the state and start counting changes anew; the engine calls this between batches."""
        self._changed = False
        return self.get_state()

    @staticmethod
    def read_state(state_path: Path | str) -> dict[str, Any]:
        """Read a state file; one that is missing or no JSON object gives an empty state."""
        try:
            state = json.loads(Path(state_path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    @staticmethod
    def write_state(state_path: Path | str, state: dict[str, Any]) -> None:
        """Write a state file whole or not at all."""
        path = Path(state_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(state, file, indent=2)
        os.replace(file.name, path)  # noqa: PTH105  the name is a str

    @staticmethod
    def should_skip_file(
        file_id: str, current_modified_time: str, state_path: Path | str, lookback_days: int = 0
    ) -> bool:
        """Say whether a file is no newer than the state file remembers; a look-back always reads again."""
        return IncrementalStateManager._seen(f"file_{file_id}", current_modified_time, state_path, lookback_days)

    @staticmethod
    def update_file_state(file_id: str, modified_time: str, state_path: Path | str) -> None:
        """Remember a file's ISO time of change in the state file."""
        IncrementalStateManager._remember("file", file_id, modified_time, state_path)

    @staticmethod
    def should_skip_spreadsheet(
        spreadsheet_id: str, current_modified_time: str, state_path: Path | str, lookback_days: int = 0
    ) -> bool:
        """Say whether a spreadsheet is no newer than the state file remembers."""
        return IncrementalStateManager._seen(
            f"spreadsheet_{spreadsheet_id}", current_modified_time, state_path, lookback_days
        )

    @staticmethod
    def update_spreadsheet_state(spreadsheet_id: str, modified_time: str, state_path: Path | str) -> None:
        """Remember a spreadsheet's ISO time of change in the state file."""
        IncrementalStateManager._remember("spreadsheet", spreadsheet_id, modified_time, state_path)

    @staticmethod
    def _seen(key: str, modified_time: str, state_path: Path | str, lookback_days: int) -> bool:
        known = IncrementalStateManager.read_state(state_path).get(key, {}).get("last_modified")
        return bool(known) and modified_time <= known and lookback_days == 0

    @staticmethod
    def _remember(kind: str, item_id: str, modified_time: str, state_path: Path | str) -> None:
        state = IncrementalStateManager.read_state(state_path)
        state[f"{kind}_{item_id}"] = {"last_modified": modified_time, f"{kind}_id": item_id}
        IncrementalStateManager.write_state(state_path, state)
