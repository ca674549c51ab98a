"""Whether a plugin's versions fit: what is certain before anything of it runs, the rest once it has said what it is."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path

import dativo_plugin_sdk
from dativo_ingest.job.files import MANIFEST_NAME
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.static_facts import StaticFacts, both
from dativo_ingest.sandbox.manifest import Kind, Manifest
from dativo_plugin_sdk.errors import PluginVersionError
from dativo_plugin_sdk.versions import (
    UNSAID_VERSION,
    check_declared,
    check_pin,
    check_requires_sdk,
    check_version,
    specifier,
)

_OWN_ENVIRONMENT = "its environment"
_ENGINE = "this engine"


def version_of(facts: StaticFacts, manifest: Manifest | None) -> str:
    """Give the version that a plugin counts as until it says another: its class's, its manifest's, or the default."""
    return facts.version or (manifest.version if manifest is not None else UNSAID_VERSION)


def requires_sdk_of(facts: StaticFacts, manifest: Manifest | None) -> str | None:
    """Give what class, distribution and manifest ask of the SDK, all together."""
    return both(facts.requires_sdk, manifest.requires_sdk if manifest is not None else None)


def check_facts(kind: Kind, facts: StaticFacts, manifest: Manifest | None, *, title: str, python: Path) -> None:
    """Refuse a plugin whose texts say that it does not fit, before anything of it runs.

    Args:
        kind: Whether it reads or writes.
        facts: What its code and its metadata say.
        manifest: Its manifest, if it has one.
        title: What it is called.
        python: The interpreter that it is to run with.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    version = version_of(facts, manifest)
    check_version(version, where=title)
    check_declared(version, manifest.version if manifest is not None else None, where=title, by=MANIFEST_NAME)
    known = {"state_version": facts.state_version, "config_version": facts.config_version}
    check_forms(kind, known, manifest, where=f"{title} {version}")
    _check_python(facts.requires_python, f"{title} {version}", python)
    sdk = sdk_of(python)
    if sdk is not None:
        whose = _ENGINE if _is_ours(python) else _OWN_ENVIRONMENT
        check_requires_sdk(requires_sdk_of(facts, manifest), sdk, where=f"{title} {version}", whose=whose)


def check_said(  # noqa: PLR0913  what there is to compare
    plugin: FoundPlugin,
    *,
    version: str | None,
    requires_sdk: str | None,
    sdk: str | None,
    pinned: str | None,
    key: str,
) -> str:
    """Refuse a plugin that says of itself, once it is imported, what does not fit; give the version that it has.

    Args:
        plugin: As it was found.
        version: What its class says; None where it does not.
        requires_sdk: The same.
        sdk: The SDK of its process; None for one that has none, being written in another language.
        pinned: Which versions the job asks for.
        key: Where it does: ``source.version``.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    found = version or plugin.version
    check_version(found, where=plugin.title)
    declared = plugin.manifest.version if plugin.manifest is not None else None
    check_declared(found, declared, where=plugin.title, by=MANIFEST_NAME)
    check_pin(found, pinned, where=plugin.title, key=key)
    whose = _ENGINE if sdk is None or _is_ours(plugin.python) else _OWN_ENVIRONMENT
    required = both(requires_sdk, plugin.requires_sdk)
    check_requires_sdk(required, sdk or dativo_plugin_sdk.__version__, where=f"{plugin.title} {found}", whose=whose)
    return found


def check_forms(kind: Kind, said: Mapping[str, int | None], manifest: Manifest | None, *, where: str) -> None:
    """Refuse a plugin whose manifest speaks of other forms of state or configuration than its class.

    Args:
        kind: Whether it reads or writes; writers make no state.
        said: The class's ``state_version`` and ``config_version``; None where they are not known.
        manifest: Its manifest, if it has one.
        where: The plugin's name and version.

    Raises:
        PluginVersionError: Naming both.
    """
    for name, there_is in said.items():
        if manifest is None or there_is is None or name not in manifest.model_fields_set:
            continue
        if kind == "writer" and name == "state_version":
            continue
        declared = getattr(manifest, name)
        if declared != there_is:
            raise PluginVersionError(
                f"{MANIFEST_NAME} has {name}: {declared}, {where} has {there_is}",
                details={"declared": declared, name: there_is},
                hint="let both say the same, or leave it out of the manifest",
            )


def check_config_version(written_for: int, known: int, *, title: str, end: str) -> None:
    """Refuse a job that is written for a newer release of a plugin.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    if written_for > known:
        raise PluginVersionError(
            f"{end}.config_version is {written_for}, {title} takes configuration up to version {known}",
            details={"config_version": written_for, "known": known},
            hint="install the release of the plugin that the job is written for, or write the job for this one",
        )


def sdk_of(python: Path) -> str | None:
    """Give the version of the SDK that an interpreter has, without running it; None where that cannot be told."""
    if _is_ours(python):
        return dativo_plugin_sdk.__version__
    folders = [str(folder) for folder in python.parent.parent.glob("lib/python3*/site-packages")]
    found = next(iter(Distribution.discover(name="dativo-plugin-sdk", path=folders)), None)
    return None if found is None else found.version


def _is_ours(python: Path) -> bool:
    return python == Path(sys.executable)


def _check_python(required: str | None, where: str, python: Path) -> None:
    """Only of the engine's own Python is it known which it is."""
    if required is None or not _is_ours(python):
        return
    there_is = platform.python_version()
    if not specifier(required).contains(there_is, prereleases=True):
        raise PluginVersionError(
            f"{where} requires Python {required}, this engine runs with {there_is}",
            hint="install a release of the plugin for this Python",
        )
