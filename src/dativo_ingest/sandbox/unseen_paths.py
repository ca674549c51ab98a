"""Paths of a job that its plugin's sandbox would not show: told before anything runs.

A target's path that is not granted is worst: below a sandbox's own temporary folder a plugin would write, succeed, and
leave nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from dativo_ingest.job.load import path_keys
from dativo_ingest.sandbox.asked import EndConfig, local_paths
from dativo_ingest.sandbox.grant import Applicant, Grant
from dativo_plugin_sdk.errors import InsufficientPermissionsError

_Access: TypeAlias = Literal["read", "write"]

_WRITTEN = frozenset({"path", "warehouse"})


def refuse_unseen(plugin: Applicant, folder: Path | None, config: EndConfig, grant: Grant) -> None:
    """See that a sandbox would show what a job's connection names: a target's paths, and what there is of all others.

    Args:
        plugin: Who asked.
        folder: Its own, which it may read.
        config: Its end of the job.
        grant: What it may do.

    Raises:
        InsufficientPermissionsError: It would not. The hint is the line that a manifest needs.
    """
    own = [] if folder is None else [os.path.abspath(folder)]  # noqa: PTH100  links stay
    for key, path, access in _paths(config):
        granted = grant.write if access == "write" else (*grant.read, *grant.write, *own)
        if any(PurePosixPath(path).is_relative_to(each) for each in granted):
            continue
        if access == "read" and not os.path.lexists(path):
            continue  # the plugin says better what it misses
        line = f'capabilities: {{filesystem: {{{access}: ["config:connection.{key}"]}}}}'
        raise InsufficientPermissionsError(
            f"the plugin {plugin.name} may not {access} {path} ({config.place('connection', key)}): a sandbox shows a "
            "plugin what its manifest asks for, and nothing else",
            details={"plugin": plugin.name, "path": path, "key": f"capabilities.filesystem.{access}"},
            hint=f"let {plugin.home} have {line}",
        )


def _paths(config: EndConfig) -> Iterator[tuple[str, str, _Access]]:
    for key in path_keys(config.connection):
        access: _Access = "write" if config.end == "target" and key in _WRITTEN else "read"
        for path in local_paths(config.connection.get(key), config.folder):
            yield key, path, access
