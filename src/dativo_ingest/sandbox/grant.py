"""What a plugin gets: what its manifest asks for, as far as the operator's policy allows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dativo_ingest.job.files import MANIFEST_NAME
from dativo_ingest.sandbox.asked import AskedHost, AskedText, EndConfig, asked_hosts, asked_paths, asked_secrets
from dativo_ingest.sandbox.egress.addresses import EVERYWHERE, refusal
from dativo_ingest.sandbox.limits import LIMITS, Limit, limits_of
from dativo_ingest.sandbox.manifest import Manifest
from dativo_ingest.sandbox.real_paths import is_within, real_path
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_plugin_sdk.errors import InsufficientPermissionsError


@dataclass(frozen=True)
class Deadlines:
    """How long a plugin may take, in seconds.

    Attributes:
        start: From its start to its first word.
        check: A step of a check.
        discover: Finding out what there is.
        idle: Between two signs of life within any other request.
    """

    start_s: float = 60.0
    check_s: float = 120.0
    discover_s: float = 600.0
    idle_s: float = 900.0


@dataclass(frozen=True)
class Grant:
    """What one plugin may do in one run. As it stands here, it is what a plugin without a manifest gets.

    Attributes:
        network: Hosts with ports, as text, in order.
        private: What of it may have addresses that are no part of the internet: ranges of such addresses
            (``10.0.0.0/8``), which any host may have then, and hosts with ports, which may have any.
        read: Files and folders that it may read, absolute, in order.
        write: Files and folders that it may write, absolute, in order.
        read_within: What links in those paths may lead to at most, without links; None is anything.
        write_within: The same of what it may write.
        secrets: The keys of its end's credentials that it is given, in order.
        subprocess: Whether it may start other programs.
        memory_bytes: The most memory of all its processes.
        cpu: The most processors.
        pids: The most processes and threads at once.
        wall_s: How long one of its processes may run.
        tmp_bytes: The most that it may keep in its temporary folder.
        log_bytes: The most that one of its processes may print and log.
        upload_bytes: The most that one of its processes may send to its hosts.
        download_bytes: The most that one of its processes may be sent by them.
        connections: How many connections one of its processes may have at once.
        deadlines: How long it may take.
        environment: Variables of the engine's environment that it is given, by name, in order.
    """

    network: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    read_within: tuple[str, ...] | None = None
    write_within: tuple[str, ...] | None = None
    secrets: tuple[str, ...] = ()
    subprocess: bool = False
    memory_bytes: int = 2**30
    cpu: float = 1.0
    pids: int = 128
    wall_s: float = 24 * 3600.0
    tmp_bytes: int = 2**28
    log_bytes: int = 16 * 2**20
    upload_bytes: int = 2**30
    download_bytes: int = 2**40
    connections: int = 64
    deadlines: Deadlines = Deadlines()
    environment: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document |= {key: list(value) for key, value in document.items() if isinstance(value, tuple)}
        document["deadlines"] = {field.name: getattr(self.deadlines, field.name) for field in fields(self.deadlines)}
        return document

    @property
    def sha256(self) -> str:
        """Hash what it says: the same for the same grant, wherever and whenever it is made."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Refusal:
    """Something that a plugin asks for and does not get.

    Attributes:
        what: Its name: ``network``, ``resources.memory``.
        asked: What the plugin asks for, as a manifest writes it.
        asked_at: Where.
        allowed: What the operator allows.
        allowed_at: Where.
    """

    what: str
    asked: str
    asked_at: str
    allowed: str
    allowed_at: str


@dataclass(frozen=True)
class Applicant:
    """The plugin that asks.

    Attributes:
        name: What it is called.
        sha256: The hash of its code.
        manifest: What it says of itself.
        home: Where its manifest is, or would be: ``a dativo-plugin.yaml beside stripe_reader.py``.
    """

    name: str
    sha256: str
    manifest: Manifest | None
    home: str = f"a {MANIFEST_NAME}"


def decide(plugin: Applicant, terms: Terms, config: EndConfig) -> Grant:
    """Give a plugin what it asks for, if it may have all of it.

    Nothing that is asked for is silently cut. What a manifest does not say is the default, or the most that the
    operator allows where that is less.

    Raises:
        InsufficientPermissionsError: It asks for more than the operator allows, or may not run at all. The message has
            the difference line by line, ``details["refused"]`` has it as data.
        InvalidConfigError: The job gives it credentials that its manifest does not name, or has no host where the
            manifest looks for one.
        MissingConfigError: The job lacks credentials that its manifest names.
    """
    _admit(plugin, terms, config)
    manifest = plugin.manifest
    secrets = asked_secrets(plugin.name, manifest, config)
    hosts = list(asked_hosts(manifest, config)) if manifest else []
    reads = list(asked_paths(manifest, config, "read")) if manifest else []
    writes = list(asked_paths(manifest, config, "write")) if manifest else []
    asked = {limit.key: value for limit, value in limits_of(manifest.resources, manifest.deadlines)} if manifest else {}
    subprocess = manifest is not None and manifest.capabilities.subprocess
    refusals = [
        *_refused_hosts(hosts, terms.network),
        *_refused_paths("filesystem.read", reads, terms.read),
        *_refused_paths("filesystem.write", writes, terms.write),
        *_refused_secrets(secrets, terms.secrets),
        *_refused_subprocess(manifest, terms.subprocess, asked=subprocess),
        *_refused_limits(manifest, asked, terms.limits),
    ]
    if refusals:
        raise _difference(plugin, terms, refusals)
    given = {key: asked.get(key, min(limit.default, terms.limits[key].value)) for key, limit in LIMITS.items()}
    return Grant(
        network=_ordered(str(each.host) for each in hosts),
        private=_ordered(_private(hosts, terms)),
        read=_ordered(each.text for each in reads),
        write=_ordered(each.text for each in writes),
        read_within=_really(terms.read.value),
        write_within=_really(terms.write.value),
        secrets=_ordered(each.text for each in secrets),
        subprocess=subprocess,
        memory_bytes=int(given["resources.memory"]),
        cpu=float(given["resources.cpu"]),
        pids=int(given["resources.pids"]),
        wall_s=float(given["resources.wall"]),
        tmp_bytes=int(given["resources.tmp"]),
        log_bytes=int(given["resources.log"]),
        upload_bytes=int(given["resources.upload"]),
        download_bytes=int(given["resources.download"]),
        connections=int(given["resources.connections"]),
        deadlines=Deadlines(
            start_s=float(given["deadlines.start"]),
            check_s=float(given["deadlines.check"]),
            discover_s=float(given["deadlines.discover"]),
            idle_s=float(given["deadlines.idle"]),
        ),
        environment=_ordered(terms.environment.value),
    )


def _admit(plugin: Applicant, terms: Terms, config: EndConfig) -> None:
    if not is_within(str(config.folder), terms.jobs.value):
        raise InsufficientPermissionsError(
            f"the job says that it is the tenant {terms.tenant}'s, whose jobs do not lie in {config.folder}: "
            f"{terms.jobs.where}",
            details={"plugin": plugin.name, "tenant": terms.tenant, "folder": str(config.folder)},
            hint="correct the job's tenant, or ask the operator to allow the folder",
        )
    refused_by = terms.refused_by(plugin.name, plugin.sha256)
    if refused_by is not None:
        raise InsufficientPermissionsError(
            f"the plugin {plugin.name} (sha256:{plugin.sha256}) may not run for the tenant {terms.tenant}: "
            f"{refused_by}",
            details={"plugin": plugin.name, "sha256": plugin.sha256, "tenant": terms.tenant},
            hint="ask the operator to allow it by its name or its hash",
        )
    if plugin.manifest is None and terms.needs_manifest.value:
        raise InsufficientPermissionsError(
            f"the plugin {plugin.name} has no manifest, which the tenant {terms.tenant}'s plugins need: "
            f"{terms.needs_manifest.where}",
            details={"plugin": plugin.name, "tenant": terms.tenant},
            hint=f"write {plugin.home}, with api, name, version and what it needs",
        )


def _refused_hosts(asked: Iterable[AskedHost], allowed: Said[Any]) -> Iterator[Refusal]:
    for each in asked:
        if allowed.value is not None and not any(host.covers(each.host) for host in allowed.value):
            yield _refusal("network", str(each.host), each.where, allowed)


def _refused_paths(what: str, asked: Iterable[AskedText], allowed: Said[Any]) -> Iterator[Refusal]:
    for each in asked:
        real = real_path(each.text)
        if not is_within(each.text, allowed.value):
            yield _refusal(what, each.text, each.where, allowed)
        elif not is_within(real, _really(allowed.value)):
            yield _refusal(what, f"{each.text}, which leads to {real}", each.where, allowed)


def _private(asked: Sequence[AskedHost], terms: Terms) -> Iterator[str]:
    """Give what may have an address that is no part of the internet: what the operator says, or the job's author.

    An address in a policy's own list is meant as it stands. Where there is no policy, the job names its own hosts,
    though never one that could be the machine's way to its credentials.
    """
    if asked:
        yield from terms.private.value
    for each in asked:
        address = each.host.address
        if terms.is_said:
            allowed = terms.network.value or ()
            if address is not None and any(host.covers(each.host) for host in allowed):
                yield str(each.host)
        elif each.is_the_jobs and (address is None or refusal(address, EVERYWHERE) is None):
            yield str(each.host)


def _really(folders: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if folders is None else _ordered(map(real_path, folders))


def _refused_secrets(asked: Iterable[AskedText], allowed: Said[Any]) -> Iterator[Refusal]:
    for each in asked:
        if allowed.value is not None and each.text not in allowed.value:
            yield _refusal("secrets", each.text, each.where, allowed)


def _refused_subprocess(manifest: Manifest | None, allowed: Said[bool], *, asked: bool) -> Iterator[Refusal]:
    if asked and manifest is not None and not allowed.value:
        where = manifest.locate(("capabilities", "subprocess"))
        yield Refusal("subprocess", "true", where, "false", allowed.where)


def _refused_limits(
    manifest: Manifest | None, asked: Mapping[str, float], allowed: Mapping[str, Said[float]]
) -> Iterator[Refusal]:
    for key, value in asked.items():
        if manifest is not None and value > allowed[key].value:
            limit: Limit = LIMITS[key]
            where = manifest.locate((limit.section, limit.name))
            yield Refusal(key, limit.text(value), where, limit.text(allowed[key].value), allowed[key].where)


def _refusal(what: str, asked: str, where: str, allowed: Said[Any]) -> Refusal:
    return Refusal(what, asked, where, ", ".join(map(str, allowed.value)) or "nothing", allowed.where)


def _difference(plugin: Applicant, terms: Terms, refusals: list[Refusal]) -> InsufficientPermissionsError:
    lines = [
        f"  {each.what}\n    asked    {each.asked}  ({each.asked_at})\n    allowed  {each.allowed}  ({each.allowed_at})"
        for each in refusals
    ]
    asks = f"ask for less in {plugin.manifest.path}" if plugin.manifest else "give it less in the job"
    return InsufficientPermissionsError(
        f"the plugin {plugin.name} asks for more than the tenant {terms.tenant} is allowed:\n" + "\n".join(lines),
        details={
            "plugin": plugin.name,
            "tenant": terms.tenant,
            "refused": [{field.name: getattr(each, field.name) for field in fields(each)} for each in refusals],
        },
        hint=f"{asks}, or ask the operator to allow it in the policy",
    )


def _ordered(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))
