"""What every plugin's class says of its versions, and the hooks that take over what older releases of it made."""

from __future__ import annotations

from typing import Any, ClassVar

from dativo_plugin_sdk.errors import PluginVersionError


class VersionedPlugin:
    """The versions of a plugin: its own, the SDK's that it works with, its configuration's.

    Raise ``config_version`` in the release in which a job written for the one before would be refused or mean something
    else, and teach `migrate_config` to take over what jobs say.
    """

    __version__: ClassVar[str] = "1.0.0"
    """The plugin's own version (PEP 440)."""
    requires_sdk: ClassVar[str | None] = None
    """The versions of the SDK that it works with, a PEP 440 specifier such as ``>=0.1,<1``."""
    config_version: ClassVar[int] = 1
    """Of the configuration that it takes; a job says which one it is written for, 1 where it says nothing."""

    @classmethod
    def migrate_config(cls, config: dict[str, Any], from_version: int) -> dict[str, Any]:  # noqa: ARG003
        """Give this version's configuration for one that was written for an older version.

        Called before an instance is made, with ``connection``, ``credentials`` and ``options``, references resolved;
        the same three are to come back. The default takes over nothing.

        Raises:
            PluginVersionError: It cannot be taken over; a hint says what to do.
        """
        raise PluginVersionError(
            f"{cls.__name__} {cls.__version__} does not take configuration of version {from_version}: it takes version "
            f"{cls.config_version} and has no migrate_config",
            hint=f"change the job as the plugin's documentation says and set config_version: {cls.config_version}, "
            "or install the release of the plugin that the job was written for",
        )


class VersionedReader(VersionedPlugin):
    """The versions of a reader, which makes state beside.

    Raise ``state_version`` in the release whose states an older one would misread, and teach `migrate_state` to take
    over the older ones. States are committed with their version beside their keys, where it is not 1.
    """

    state_version: ClassVar[int] = 1
    """Of the states that it makes."""

    @classmethod
    def migrate_state(cls, state: dict[str, Any], from_version: int) -> dict[str, Any]:  # noqa: ARG003
        """Give this version's state for one that an older version made.

        It is asked before anything is read, and again by each run until one commits a new state; the same state must
        give the same. The default takes over nothing.

        Raises:
            PluginVersionError: It cannot be taken over; a hint says what to do.
        """
        raise PluginVersionError(
            f"{cls.__name__} {cls.__version__} cannot go on from state of version {from_version}: it makes version "
            f"{cls.state_version} and has no migrate_state",
            hint="install the release of the plugin that made the state, or forget it with dativo state reset: the "
            "next run then reads from the beginning",
        )


def own_version(plugin: type) -> str | None:
    """Give the version that a class says itself, or a base of its own; None where it only has the SDK's default."""
    for cls in plugin.__mro__:
        if "__version__" in vars(cls):
            return None if cls.__module__ == __name__ else str(vars(cls)["__version__"])
    return None
