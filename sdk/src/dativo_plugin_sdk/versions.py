"""Which versions go together: of a plugin, of the SDK, of the protocol; a misfit's error names both sides.

``packaging`` takes longer to import than a plugin's process may take to start, so it is only where there is a choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dativo_plugin_sdk.errors import PluginVersionError
from dativo_plugin_sdk.versioned import VersionedPlugin, VersionedReader, own_version

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

PROTOCOLS = (1,)
"""The versions of the wire protocol that this SDK speaks."""
UNSAID_VERSION = VersionedPlugin.__version__
"""What a plugin counts as that does not say its version."""
_RELEASE = re.compile(r"\d+(\.\d+)*", re.ASCII)


def check_plugin(plugin: type, *, where: str, sdk: str, whose: str = "this engine") -> None:
    """Refuse a class whose versions are none, or that asks for another SDK, before any of its methods run.

    Args:
        plugin: The class, just imported.
        where: What it is called: ``shop.py:ShopReader``.
        sdk: The version of the SDK that it was imported with.
        whose: Who has this SDK.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    version = own_version(plugin) or UNSAID_VERSION
    check_version(version, where=where)
    check_requires_sdk(getattr(plugin, "requires_sdk", None), sdk, where=f"{where} {version}", whose=whose)
    if issubclass(plugin, VersionedPlugin):
        _check_number(plugin.config_version, "config_version", where)
    if issubclass(plugin, VersionedReader):
        _check_number(plugin.state_version, "state_version", where)


def check_version(version: str, *, where: str) -> None:
    """Refuse what is no version.

    Raises:
        PluginVersionError: It is none as PEP 440 writes them.
    """
    if _RELEASE.fullmatch(version):
        return
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  see above

    try:
        Version(version)
    except InvalidVersion as error:
        raise PluginVersionError(
            f"{where} has the version {version!r}, which is no PEP 440 version", hint="write it as 1.4.0"
        ) from error


def check_requires_sdk(required: object, sdk: str, *, where: str, whose: str = "this engine") -> None:
    """Refuse a plugin that is not made for the SDK that it would run with; None asks for nothing.

    Args:
        required: A PEP 440 specifier, as the class, the manifest or the distribution has it.
        sdk: The SDK's version: of the plugin's own process, where its environment has an SDK, else the engine's.
        where: The plugin's name and version.
        whose: Who has this SDK.

    Raises:
        PluginVersionError: It is no specifier, or leaves ``sdk`` out.
    """
    if required is None:
        return
    try:
        fits = specifier(str(required)).contains(sdk, prereleases=True)
    except ValueError as error:
        raise PluginVersionError(
            f"{where} requires the SDK {required!r}, which is no PEP 440 specifier", hint="write it as >=0.1,<1"
        ) from error
    if not fits:
        raise PluginVersionError(
            f"{where} requires dativo-plugin-sdk {required}, {whose} has {sdk}",
            details={"requires_sdk": str(required), "sdk": sdk},
            hint="install a release of the plugin for this SDK, or give it an environment of its own with the SDK "
            "that it asks for: a .venv beside it",
        )


def check_pin(version: str, pinned: str | None, *, where: str, key: str) -> None:
    """Refuse a plugin of a version that the job did not ask for; None asks for none.

    Args:
        version: The plugin's own.
        pinned: What the job says: a specifier, or a version, which stands for itself alone.
        where: The plugin's name.
        key: Where the job says it: ``source.version``.

    Raises:
        PluginVersionError: Naming both.
    """
    if pinned is not None and not specifier(pinned).contains(version, prereleases=True):
        raise PluginVersionError(
            f"{key} asks for {pinned}, {where} is {version}",
            details={"version": version, "pinned": pinned},
            hint=f"install such a release of the plugin, or change {key} of the job",
        )


def check_declared(version: str, declared: str | None, *, where: str, by: str) -> None:
    """Refuse a plugin whose manifest speaks of another version of it; None declares none.

    Raises:
        PluginVersionError: Naming both.
    """
    if declared is None or declared == version:
        return
    from packaging.version import Version  # noqa: PLC0415  see above

    if Version(version) != Version(declared):
        raise PluginVersionError(
            f"{by} is of version {declared}, {where} is {version}",
            details={"version": version, "declared": declared},
            hint="install the plugin's files of one release, or let the manifest and __version__ say the same",
        )


def negotiate(
    theirs: Sequence[int], ours: Sequence[int] = PROTOCOLS, *, where: str, sdk: str | None, engine: str
) -> int:
    """Choose the newest version of the protocol that both sides speak.

    Args:
        theirs: What the plugin's process says it speaks.
        ours: What this engine speaks.
        where: The plugin's name.
        sdk: The version of the plugin's SDK; None where it has none, being written in another language.
        engine: The version of the engine's.

    Raises:
        PluginVersionError: There is none; naming both sides.
    """
    common = set(theirs) & set(ours)
    if common:
        return max(common)
    with_sdk = f" (dativo-plugin-sdk {sdk})" if sdk else ""
    is_older = max(theirs, default=0) < min(ours)
    raise PluginVersionError(
        f"{where} speaks protocol {_listed(theirs)}{with_sdk}, this engine speaks {_listed(ours)} (dativo-plugin-sdk "
        f"{engine})",
        details={"protocol": list(theirs), "engine_protocol": list(ours), "sdk": sdk, "engine_sdk": engine},
        hint=f"upgrade the plugin, and dativo-plugin-sdk in its environment: {engine} speaks what this engine speaks"
        if is_older
        else f"upgrade dativo-ingest, or install dativo-plugin-sdk {engine} in the plugin's environment",
    )


def specifier(text: str) -> SpecifierSet:
    """Read a PEP 440 specifier; a version alone stands for itself.

    Raises:
        ValueError: It is neither.
    """
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415  see above
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  see above

    try:
        return SpecifierSet(f"=={Version(text)}")
    except InvalidVersion:
        return SpecifierSet(text)


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions)) or "none"


def _check_number(value: object, name: str, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PluginVersionError(f"{where} has the {name} {value!r}, expected a whole number from 1 on")
