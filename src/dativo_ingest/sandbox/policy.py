"""What the operator allows plugins: ``policy.yaml``, which a command is told of and never looks for.

A policy that says nothing of something allows what a plugin without a manifest gets: no hosts, no files, no other
programs, the credentials that its own job gives it, and the limits of `Grant`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from dativo_ingest.job.files import read_file
from dativo_ingest.job.job_model import JobModel
from dativo_ingest.job.model import NAME_PATTERN
from dativo_ingest.job.problems import Loc, dotted
from dativo_ingest.sandbox.controls import Degradable
from dativo_ingest.sandbox.hosts import AllowedHost, Host, read_allowed
from dativo_ingest.sandbox.levels import Backend, Isolation
from dativo_ingest.sandbox.limits import LIMITS, limits_of
from dativo_ingest.sandbox.manifest import Deadlines, Resources
from dativo_ingest.sandbox.terms import Said, SandboxTerms, Terms
from dativo_ingest.sandbox.written import WrittenModel, read_written
from dativo_plugin_sdk.config import list_of_one

_SHA256 = re.compile(r"(?P<name>[^@]+@)?sha256:(?P<hash>[0-9a-f]{64})")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_TRUSTED = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(r"(?:[a-z0-9][\w.:/-]*@)?sha256:[0-9a-f]{64}")
_ENGINE = "unix://"
_OURS = "DATIVO_"

_Listed: TypeAlias = str | list[str] | None
_TAG = "function-"  # what begins so is no part of where a problem is
_Item = TypeVar("_Item")


def _one(value: object) -> object:
    return [value] if isinstance(value, str) and value != "any" else value


AnyOf: TypeAlias = Annotated[
    Annotated[
        Annotated[Literal["any"], Tag(f"{_TAG}any")] | Annotated[list[_Item], Tag(f"{_TAG}list")],
        Discriminator(lambda value: f"{_TAG}any" if value == "any" else f"{_TAG}list"),
    ]
    | None,
    BeforeValidator(_one, json_schema_input_type=str | list[str]),
]
"""The word any, or a list; a lone text stands for a list of one."""


Texts: TypeAlias = Annotated[list[_Item] | None, BeforeValidator(list_of_one, json_schema_input_type=str | list[str])]
"""A list; a lone text stands for a list of one."""


def _folder(text: str) -> str:
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text:
        raise ValueError(f"{text!r} is no absolute path")
    return str(path)


def _plugin(text: str) -> str:
    if ("sha256:" in text or not text) and not _SHA256.fullmatch(text):
        raise ValueError(f"{text!r} names no plugin; write a name, name@sha256:HASH or sha256:HASH, of 64 hex digits")
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text) or text.startswith(_OURS):
        raise ValueError(f"{text!r} is no variable that a plugin can be given")
    return text


def _hash(text: str) -> str:
    if not _TRUSTED.fullmatch(text):
        raise ValueError(f"{text!r} is no hash of a plugin; write sha256:HASH, of 64 hex digits")
    return text


def _range(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no range of addresses; write 10.0.0.0/8, 192.168.7.4 or fd00::/8") from error


def _engine(text: str) -> str:
    path = text.removeprefix(_ENGINE)
    if path == text or not Path(path).is_absolute() or "\0" in path:
        raise ValueError(f"{text!r} is no socket of this machine; write unix:///run/docker.sock")
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} may be another image tomorrow; write NAME@sha256:DIGEST, or the image's id")
    return text


PluginName: TypeAlias = Annotated[str, AfterValidator(_plugin)]
Folder: TypeAlias = Annotated[str, AfterValidator(_folder)]


class Plugins(JobModel):
    """Which plugins may run at all."""

    allow: AnyOf[PluginName] = Field(
        default=None,
        description="`any`, or a list: a name (with `*` for anything), `name@sha256:HASH`, or `sha256:HASH`. A name is "
        "what the plugin calls itself: where others than you install plugins, say the hash. Left out: `any`.",
    )
    deny: Texts[PluginName] = Field(default=None, description="Plugins that may not run, whatever `allow` says.")
    manifest: Literal["optional", "required"] | None = Field(
        default=None,
        description="Whether a plugin must have a manifest. Left out: `optional`, and one that has none gets the "
        "narrow default.",
    )
    trusted: Texts[Annotated[str, AfterValidator(_hash)]] = Field(
        default=None,
        description="Plugins that may run without a sandbox where `sandbox.backend` is `none`, each by the hash of its "
        "code: `sha256:HASH`. Left out: none.",
    )


class Sandbox(JobModel):
    """How plugins are kept from the machine."""

    backend: Backend | None = Field(
        default=None,
        description="What holds them: `process` (bubblewrap), `container` (Docker or Podman), or `none`, which runs "
        "plugins alone whose hash is in `plugins.trusted`, and not in mode `cloud`. Left out: `process`; in mode "
        "`cloud`, `container`.",
    )
    min: Isolation | None = Field(
        default=None,
        description="The least that must be achieved: `none`, `process`, `container` or `vm`. Left out: what `backend` "
        "gives; in mode `cloud`, `container`.",
    )
    runtime: str | None = Field(
        default=None,
        pattern=r"^[a-z][A-Za-z0-9_.-]*$",
        description="The container engine's runtime: `runsc` (gVisor) and those of Kata (`kata…`) count as `vm`. Left "
        "out: the engine's default.",
    )
    engine: Annotated[str, AfterValidator(_engine)] | None = Field(
        default=None,
        description="The container engine's socket, on this machine: `unix:///run/docker.sock`. Left out: "
        "`DOCKER_HOST`, else the first that is there of Docker's and Podman's.",
    )
    image: Annotated[str, AfterValidator(_image)] | None = Field(
        default=None,
        description="The image that plugins run in, pinned: `NAME@sha256:DIGEST`, or its id `sha256:ID`.",
    )
    allow_degraded: Texts[Degradable] = Field(
        default=None,
        description="Controls that may be weaker or absent, by name: `memory`, `pids`, `cpu`, `disk`, `landlock`. No "
        "other may be, and none in mode `cloud`. Left out: `memory`, `pids` and `cpu` may be weaker, none absent; "
        "`[]`: none may be either.",
    )


class AllowedFiles(JobModel):
    """Files and folders that plugins may ask for."""

    read: AnyOf[Folder] = Field(
        default=None, description="`any`, or absolute paths; a folder is everything in it. Left out: none."
    )
    write: AnyOf[Folder] = Field(default=None, description="The same for writing.")


class TenantTerms(JobModel):
    """What a tenant's plugins may have at most. What is left out here, `defaults` says."""

    jobs: AnyOf[Folder] = Field(
        default=None,
        description="The folders that the job files lie in. A job says itself whose it is: one that lies elsewhere "
        "gets no plugin. Left out: `any`.",
    )
    plugins: Plugins = Field(default_factory=Plugins, description="Which plugins may run at all.")
    network: AnyOf[AllowedHost] = Field(
        default=None,
        description="`any`, or hosts with ports: `api.stripe.com:443`, `*.stripe.com:443` (one label more), "
        "`db.internal:*`. Left out: none.",
    )
    private: Texts[Annotated[str, AfterValidator(_range)]] = Field(
        default=None,
        description="Ranges of private addresses that plugins may reach, where a host that they may reach has one: "
        "`10.0.0.0/8`. Left out: none.",
    )
    sandbox: Sandbox = Field(default_factory=Sandbox, description="How plugins are kept from the machine.")
    filesystem: AllowedFiles = Field(default_factory=AllowedFiles, description="Files and folders.")
    secrets: AnyOf[str] = Field(
        default=None, description="`any`, or the keys of `credentials` that plugins may be given. Left out: `any`."
    )
    subprocess: bool | None = Field(
        default=None, description="Whether plugins may start other programs. Left out: `false`."
    )
    resources: Resources = Field(
        default_factory=Resources, description="The most that a manifest may ask for. Left out: the default."
    )
    deadlines: Deadlines = Field(
        default_factory=Deadlines, description="The most that a manifest may ask for. Left out: the default."
    )
    environment: Texts[Annotated[str, AfterValidator(_variable)]] = Field(
        default=None,
        description="Variables of the engine's environment that every plugin is given, by name, such as `HTTPS_PROXY`. "
        "Left out: none.",
    )
    audit: str | None = Field(
        default=None,
        min_length=1,
        description="The file of the audit log; a relative one is relative to the policy. Left out: "
        "`.dativo/audit.jsonl` beside the job.",
    )


class Policy(WrittenModel):
    """An operator's policy. `load_policy` makes it."""

    version: Literal[1] = Field(description="The version of the policy's format: 1.")
    defaults: TenantTerms = Field(default_factory=TenantTerms, description="What holds for every tenant.")
    tenants: dict[Annotated[str, Field(pattern=NAME_PATTERN)], TenantTerms] = Field(
        default_factory=dict,
        description="What holds for a tenant, by the `tenant` of its jobs; each key that it has goes before that of "
        "`defaults`.",
    )


def load_policy(path: Path) -> Policy:
    """Read a policy's file.

    Raises:
        ConfigurationError: It is missing, may not be read, or something is wrong with it; with file, line and column.
    """
    raw = read_file(path, what="policy", hint_if_missing="name one that exists with --policy or DATIVO_POLICY")
    return read_written(Policy, raw, path, hint_if_empty="a policy has at least version")


def terms_of(policy: Policy | None, tenant: str) -> Terms:
    """Give what a tenant's plugins may have: key by key, the tenant's own or the default.

    Without a policy they may have whatever they ask for.
    """
    if policy is None:
        return Terms(tenant)
    said = _Sayings(policy, tenant)
    audit = said.of("audit", lambda terms: terms.audit).value
    return Terms(
        tenant=tenant,
        jobs=said.listed("jobs", lambda terms: terms.jobs, if_unsaid="any"),
        allow=said.listed("plugins.allow", lambda terms: terms.plugins.allow, if_unsaid="any"),
        deny=said.all_of("plugins.deny", lambda terms: terms.plugins.deny),
        needs_manifest=said.of("plugins.manifest", _needs_manifest, if_unsaid=False),
        network=said.hosts("network", lambda terms: terms.network),
        private=said.all_of("private", lambda terms: terms.private),
        sandbox=_sandbox(said),
        read=said.listed("filesystem.read", lambda terms: terms.filesystem.read),
        write=said.listed("filesystem.write", lambda terms: terms.filesystem.write),
        secrets=said.listed("secrets", lambda terms: terms.secrets, if_unsaid="any"),
        subprocess=said.of("subprocess", lambda terms: terms.subprocess, if_unsaid=False),
        limits={key: said.of(key, partial(_limit, key), if_unsaid=limit.default) for key, limit in LIMITS.items()},
        environment=said.all_of("environment", lambda terms: terms.environment),
        audit=Path(os.path.abspath(policy.path.parent / audit)) if audit is not None else None,  # noqa: PTH100  links stay
    )


def _sandbox(said: _Sayings) -> SandboxTerms:
    return SandboxTerms(
        backend=said.of("sandbox.backend", lambda terms: terms.sandbox.backend),
        min=said.of("sandbox.min", lambda terms: terms.sandbox.min),
        runtime=said.of("sandbox.runtime", lambda terms: terms.sandbox.runtime),
        engine=said.of("sandbox.engine", lambda terms: terms.sandbox.engine),
        image=said.of("sandbox.image", lambda terms: terms.sandbox.image),
        allow_degraded=said.of("sandbox.allow_degraded", _degraded),
        trusted=said.all_of("plugins.trusted", lambda terms: terms.plugins.trusted),
    )


def _degraded(terms: TenantTerms) -> tuple[Degradable, ...] | None:
    return None if terms.sandbox.allow_degraded is None else tuple(terms.sandbox.allow_degraded)


def _needs_manifest(terms: TenantTerms) -> bool | None:
    return None if terms.plugins.manifest is None else terms.plugins.manifest == "required"


def _limit(key: str, terms: TenantTerms) -> float | None:
    return next((value for limit, value in limits_of(terms.resources, terms.deadlines) if limit.key == key), None)


class _Sayings:
    """What a policy says for a tenant, and where."""

    def __init__(self, policy: Policy, tenant: str) -> None:
        self._policy = policy
        self._sections: list[tuple[Loc, TenantTerms]] = [(("defaults",), policy.defaults)]
        if tenant in policy.tenants:
            self._sections.insert(0, (("tenants", tenant), policy.tenants[tenant]))

    def of(self, key: str, pick: Callable[[TenantTerms], object], if_unsaid: object = None) -> Said[Any]:
        """Give the tenant's own word, else the default's, else ``if_unsaid``."""
        for loc, terms in self._sections:
            value = pick(terms)
            if value is not None:
                place = (*loc, *key.split("."))
                return Said(value, f"{self._policy.locate(place)} {dotted(place)}")
        return Said(if_unsaid, f"{self._policy.path} says nothing of {key}")

    def listed(
        self, key: str, pick: Callable[[TenantTerms], _Listed], *, if_unsaid: Literal["any", "none"] = "none"
    ) -> Said[tuple[str, ...] | None]:
        """Give a list, or None for anything."""
        said = self.of(key, pick, "any" if if_unsaid == "any" else [])
        return Said(None if said.value == "any" else tuple(said.value), said.where)

    def hosts(self, key: str, pick: Callable[[TenantTerms], _Listed]) -> Said[tuple[Host, ...] | None]:
        """Give a list of hosts, or None for any."""
        said = self.listed(key, pick)
        return Said(None if said.value is None else tuple(map(read_allowed, said.value)), said.where)

    def all_of(self, key: str, pick: Callable[[TenantTerms], list[_Item] | None]) -> Said[tuple[_Item, ...]]:
        """Give a list for which there is no anything."""
        said = self.of(key, pick, [])
        return Said(tuple(said.value), said.where)
