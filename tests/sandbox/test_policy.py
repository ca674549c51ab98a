import math
from pathlib import Path

import pytest

from dativo_ingest.sandbox.limits import LIMITS
from dativo_ingest.sandbox.policy import Policy, load_policy, terms_of
from dativo_plugin_sdk.errors import InvalidConfigError, MissingConfigError

HASH = "0123456789abcdef" * 4
POLICY = f"""\
version: 1
defaults:
  plugins: {{deny: [evil-*]}}
  network: ["*.stripe.com:443"]
  resources: {{memory: 1Gi, wall: 2h}}
  environment: HTTPS_PROXY
tenants:
  acme:
    plugins: {{allow: [stripe-reader, "crm@sha256:{HASH}", "sha256:{HASH[::-1]}"], manifest: required}}
    network: any
    filesystem: {{read: [/data/acme]}}
    resources: {{memory: 4Gi}}
    secrets: [api_key]
    audit: logs/acme.jsonl
  b.c: {{subprocess: true}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return load_policy(path)


def test_a_tenants_key_goes_before_the_default_one_by_one(policy: Policy, tmp_path: Path) -> None:
    terms = terms_of(policy, "acme")

    assert terms.network.value is None
    assert terms.read.value == ("/data/acme",)
    assert terms.secrets.value == ("api_key",)
    assert terms.limits["resources.memory"].value == 4 * 2**30
    assert terms.limits["resources.wall"].value == 7200
    assert terms.deny.value == ("evil-*",)
    assert terms.environment.value == ("HTTPS_PROXY",)
    assert terms.audit == tmp_path / "logs" / "acme.jsonl"


def test_another_tenant_has_the_defaults(policy: Policy) -> None:
    terms = terms_of(policy, "globex")

    assert [str(host) for host in terms.network.value or ()] == ["*.stripe.com:443"]
    assert terms.limits["resources.memory"].value == 2**30
    assert terms.allow.value is None
    assert terms.audit is None


def test_every_word_says_where_it_stands(policy: Policy, tmp_path: Path) -> None:
    terms = terms_of(policy, "acme")

    assert terms.network.where == f"{tmp_path}/policy.yaml:10:5 tenants.acme.network"
    assert terms.limits["resources.wall"].where == f"{tmp_path}/policy.yaml:5:28 defaults.resources.wall"
    assert terms.write.where == f"{tmp_path}/policy.yaml says nothing of filesystem.write"
    assert terms_of(policy, "b.c").subprocess.where == f"{tmp_path}/policy.yaml:15:9 tenants.b.c.subprocess"


def test_a_policy_that_says_nothing_allows_what_a_plugin_without_a_manifest_gets(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\n")

    terms = terms_of(load_policy(path), "acme")

    assert (terms.network.value, terms.read.value, terms.write.value) == ((), (), ())
    assert not terms.subprocess.value
    assert terms.secrets.value is None
    assert terms.environment.value == ()
    assert {key: said.value for key, said in terms.limits.items()} == {key: LIMITS[key].default for key in LIMITS}


def test_without_a_policy_plugins_may_have_whatever_they_ask_for() -> None:
    terms = terms_of(None, "acme")

    assert (terms.network.value, terms.read.value, terms.write.value, terms.secrets.value) == (None, None, None, None)
    assert terms.subprocess.value
    assert {said.value for said in terms.limits.values()} == {math.inf}


def test_a_policy_says_how_plugins_are_kept_from_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"""\
version: 1
defaults:
  sandbox: {{backend: container, runtime: runsc, engine: unix:///run/podman.sock, image: "dativo/run@sha256:{HASH}"}}
  private: [10.0.0.0/8, "fd00::/8"]
tenants:
  acme:
    sandbox: {{min: vm, allow_degraded: cpu}}
    plugins: {{trusted: "sha256:{HASH}"}}
"""
    )
    policy = load_policy(path)

    terms, acme = terms_of(policy, "globex"), terms_of(policy, "acme").sandbox

    assert terms.private.value == ("10.0.0.0/8", "fd00::/8")
    assert (terms.sandbox.backend.value, terms.sandbox.min.value, terms.sandbox.trusted.value) == (
        "container",
        None,
        (),
    )
    assert (acme.backend.value, acme.min.value, acme.runtime.value) == ("container", "vm", "runsc")
    assert (acme.engine.value, acme.image.value) == ("unix:///run/podman.sock", f"dativo/run@sha256:{HASH}")
    assert (acme.allow_degraded.value, acme.trusted.value) == (("cpu",), (f"sha256:{HASH}",))
    assert acme.backend.where == f"{path}:3:13 defaults.sandbox.backend"
    assert acme.trusted.where == f"{path}:8:15 tenants.acme.plugins.trusted"


@pytest.mark.parametrize(
    ("name", "sha256", "refused_by"),
    [
        pytest.param("stripe-reader", "0" * 64, None, id="allowed by its name"),
        pytest.param("crm", HASH, None, id="allowed by its name and hash"),
        pytest.param("crm", "0" * 64, "does not have it", id="the name with another hash"),
        pytest.param("whatever", HASH[::-1], None, id="allowed by its hash"),
        pytest.param("other", "0" * 64, "does not have it", id="not allowed"),
        pytest.param("evil-twin", HASH[::-1], "has evil-*", id="denied, whatever is allowed"),
    ],
)
def test_a_policy_says_which_plugins_run(policy: Policy, name: str, sha256: str, refused_by: str | None) -> None:
    said = terms_of(policy, "acme").refused_by(name, sha256)

    assert said is None if refused_by is None else (said or "").endswith(refused_by)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "version: 1\ndefaults: {netwrok: any}\n",
            ":2:12 defaults.netwrok: unknown key, did you mean network",
            id="a key",
        ),
        pytest.param(
            "version: 1\ntenants:\n  acme:\n    resources: {ram: 1Gi}\n",
            ":4:17 tenants.acme.resources.ram: unknown key",
            id="a tenant's key",
        ),
        pytest.param("version: 1\nteants: {}\n", ":2:1 teants: unknown key, did you mean tenants", id="at the top"),
        pytest.param("version: 2\n", ":1:1 version", id="a version to come"),
        pytest.param("version: 1\ndefaults: {network: [x.com]}\n", ":2:22 defaults.network[0]", id="no port"),
        pytest.param("version: 1\ndefaults: {network: ['*:443']}\n", ":2:22 defaults.network[0]", id="every host"),
        pytest.param("version: 1\ndefaults: {network: ['*.0.0.1:1']}\n", ":2:22 defaults.network[0]", id="addresses"),
        pytest.param(
            "version: 1\ndefaults: {filesystem: {read: [data]}}\n",
            ":2:32 defaults.filesystem.read[0]",
            id="a relative path",
        ),
        pytest.param(
            "version: 1\ndefaults: {filesystem: {read: [/data/../etc]}}\n",
            ":2:32 defaults.filesystem.read[0]",
            id="a path that goes up",
        ),
        pytest.param(
            "version: 1\ndefaults: {environment: [DATIVO_POLICY]}\n", ":2:26 defaults.environment[0]", id="ours"
        ),
        pytest.param(
            "version: 1\ndefaults: {plugins: {allow: ['a@sha256:1']}}\n", ":2:30 defaults.plugins.allow[0]", id="a hash"
        ),
        pytest.param(
            "version: 1\ndefaults: {sandbox: {backend: docker}}\n", ":2:22 defaults.sandbox.backend", id="a back end"
        ),
        pytest.param("version: 1\ndefaults: {sandbox: {min: vms}}\n", ":2:22 defaults.sandbox.min", id="a level"),
        pytest.param(
            "version: 1\ndefaults: {sandbox: {engine: 'tcp://10.0.0.1:2375'}}\n",
            ":2:22 defaults.sandbox.engine",
            id="an engine elsewhere",
        ),
        pytest.param(
            "version: 1\ndefaults: {sandbox: {image: 'dativo/plugin-runner:latest'}}\n",
            ":2:22 defaults.sandbox.image",
            id="an image that may change",
        ),
        pytest.param(
            "version: 1\ndefaults: {sandbox: {allow_degraded: [files]}}\n",
            ":2:39 defaults.sandbox.allow_degraded[0]",
            id="no sandbox without",
        ),
        pytest.param(
            "version: 1\ndefaults: {plugins: {trusted: [shop]}}\n", ":2:32 defaults.plugins.trusted[0]", id="a name"
        ),
        pytest.param("version: 1\ndefaults: {private: [10.0.0.1/8]}\n", ":2:22 defaults.private[0]", id="a range"),
        pytest.param("version: 1\ntenants: {a b: {}}\n", ":2:11 tenants.a b", id="no tenant's name"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)

    with pytest.raises(InvalidConfigError) as failure:
        load_policy(path)

    assert f"policy.yaml{problem}" in str(failure.value)


def test_a_policy_that_is_not_there_stops_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigError, match="no such policy"):
        load_policy(tmp_path / "policy.yaml")
