"""State and configuration of other releases of a plugin, taken over by its hooks or refused before it does anything."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from dativo_plugin_sdk.config import Credentials, SourceConfig, TargetConfig
from dativo_plugin_sdk.errors import DataFormatError, DativoError, PluginExecutionError, PluginVersionError
from dativo_plugin_sdk.plugin_calls import broke, call_plugin
from dativo_plugin_sdk.versioned import VersionedPlugin, VersionedReader, own_version

STATE_VERSION = "_state_version"
"""The key beside a reader's own that says which version a committed state has; without it that is 1."""

Config = TypeVar("Config", SourceConfig, TargetConfig)
_END = {SourceConfig: "source", TargetConfig: "target"}
_CONFIG_KEYS = ("connection", "credentials", "options")


def state_version(state: Mapping[str, Any], *, stream: str) -> int:
    """Give the version of a committed state.

    Raises:
        DataFormatError: What says it is no version.
    """
    version = state.get(STATE_VERSION, 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DataFormatError(
            f"the state of {stream} has the {STATE_VERSION} {version!r}, expected a whole number from 1 on",
            hint="set it right with dativo state set, or forget the state with dativo state reset",
        )
    return version


def check_state_version(state: Mapping[str, Any], known: int, *, stream: str, plugin: str) -> int:
    """Refuse a state that a newer release of the plugin made, and give the version of any other.

    Args:
        state: As it is committed.
        known: The plugin's own ``state_version``.
        stream: Whose state it is.
        plugin: The plugin's name and version, for the message.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    version = state_version(state, stream=stream)
    if version > known:
        raise PluginVersionError(
            f"the state of {stream} has version {version}, {plugin} knows states up to version {known}",
            details={"stream": stream, "state_version": version, "known": known},
            hint="a newer release of the plugin made it: install that, or forget the state with dativo state reset "
            f"--stream {stream}: the next run then reads from the beginning",
        )
    return version


def state_for(plugin: type[VersionedReader], state: Mapping[str, Any], *, stream: str) -> dict[str, Any]:
    """Give a committed state as this release of the plugin knows it: without its version, and migrated.

    Raises:
        PluginVersionError: A newer release made it, or the plugin cannot take it over.
        PluginExecutionError: The hook failed, or gave what is no state.
    """
    version = check_state_version(state, plugin.state_version, stream=stream, plugin=_called(plugin))
    bare = {key: value for key, value in state.items() if key != STATE_VERSION}
    if version == plugin.state_version:
        return bare
    where = f"{plugin.__name__}.migrate_state"
    hint = "dativo state reset forgets the state: the next run then reads from the beginning"
    with _explained(f"the state of {stream}", hint):
        migrated: object = call_plugin(where, plugin.migrate_state, copy.deepcopy(bare), version)
        if not isinstance(migrated, dict) or not _is_json(migrated) or STATE_VERSION in migrated:
            raise broke(where, migrated, f"a state: a dict of JSON values, without the key {STATE_VERSION}")
    return migrated


def stamped(plugin: type[VersionedReader], state: Mapping[str, Any]) -> dict[str, Any]:
    """Give a state that the plugin made as it is committed: with its version, where that is not 1.

    Raises:
        PluginExecutionError: It has a key of this name already.
    """
    if STATE_VERSION in state:
        raise PluginExecutionError(
            f"{plugin.__name__} made a state with the key {STATE_VERSION}, which says the state's version",
            hint="call the key otherwise; the attribute state_version of the class sets the version",
        )
    return dict(state) if plugin.state_version == 1 else {**state, STATE_VERSION: plugin.state_version}


def config_for(plugin: type[VersionedPlugin], config: Config, written_for: int) -> Config:
    """Give a job's configuration as this release of the plugin takes it.

    Args:
        plugin: The class that is about to be made.
        config: Of the source or the target.
        written_for: What the job says as ``config_version``.

    Raises:
        PluginVersionError: The job is written for a newer release, or the plugin cannot take it over.
        PluginExecutionError: The hook failed, or gave what is no configuration.
    """
    if written_for == plugin.config_version:
        return config
    end = _END[type(config)]
    if written_for > plugin.config_version:
        raise PluginVersionError(
            f"{end}.config_version is {written_for}, {_called(plugin)} takes configuration up to version "
            f"{plugin.config_version}",
            details={"config_version": written_for, "known": plugin.config_version},
            hint="install the release of the plugin that the job is written for, or write the job for this one",
        )
    where = f"{plugin.__name__}.migrate_config"
    before = {key: copy.deepcopy(dict(getattr(config, key))) for key in _CONFIG_KEYS}
    with _explained(end, f"write the job for config_version: {plugin.config_version}"):
        after: Any = call_plugin(where, plugin.migrate_config, before, written_for)
        if not _is_config(after):
            raise broke(where, after, f"a dict of {', '.join(_CONFIG_KEYS)}, each a dict")
    options = after["options"]
    engine = {**config.engine, "options": options} if "options" in config.engine else config.engine
    return config.model_copy(update={**after, "credentials": Credentials(after["credentials"]), "engine": engine})


@contextmanager
def _explained(what: str, hint: str) -> Iterator[None]:
    """Say of an error what was being taken over, and what to do where its own hint does not."""
    try:
        yield
    except DativoError as error:
        error.message = f"{what}: {error.message}"
        error.hint = error.hint or hint
        raise


def _called(plugin: type[VersionedPlugin]) -> str:
    return f"{plugin.__name__} {own_version(plugin) or plugin.__version__}"


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_config(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != set(_CONFIG_KEYS):
        return False
    return all(isinstance(part, dict) for part in value.values())
