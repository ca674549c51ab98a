import json
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from dativo_ingest.sandbox.asked import EndConfig
from dativo_ingest.sandbox.grant import Applicant, Deadlines, Grant, decide
from dativo_ingest.sandbox.hosts import read_allowed, read_host
from dativo_ingest.sandbox.limits import LIMITS
from dativo_ingest.sandbox.manifest import Manifest, read_manifest
from dativo_ingest.sandbox.policy import load_policy, terms_of
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_plugin_sdk.errors import InsufficientPermissionsError, InvalidConfigError, MissingConfigError

HASH = "ab" * 32
WHO = {"api": 1, "name": "shop-reader", "version": "1.0.0"}


def manifest(**asks: Any) -> Manifest:
    return read_manifest(yaml.safe_dump({**WHO, **asks}, sort_keys=False).encode(), Path("/shop/dativo-plugin.yaml"))


def plugin(found: Manifest | None) -> Applicant:
    return Applicant("shop-reader", HASH, found, "a dativo-plugin.yaml beside shop.py")


def end(**config: Any) -> EndConfig:
    where = lambda loc: f"job.yaml:{len(loc)}:1"  # noqa: E731  a place that a test can tell
    return EndConfig("source", Path("/jobs"), locate=where, **config)


def capabilities(**asks: Any) -> Manifest:
    return manifest(capabilities=asks)


def test_without_a_policy_a_plugin_gets_what_it_asks_for() -> None:
    asks = manifest(
        capabilities={
            "network": ["b.x.com:443", "a.x.com:443", "B.x.com:443"],
            "filesystem": {"read": ["data", "/etc/ssl/../pki"], "write": "/var/spool/shop"},
            "secrets": ["api_key", "token?"],
            "subprocess": True,
        },
        resources={"memory": "2Gi", "cpu": 1.5, "pids": 10, "wall": "3h", "tmp": "64Mi", "log": "1Mi"},
        deadlines={"start": "5s", "check": "6s", "discover": "7s", "idle": "8s"},
    )

    grant = decide(plugin(asks), Terms(), end(credentials=("api_key",)))

    assert grant == Grant(
        network=("a.x.com:443", "b.x.com:443"),
        read=("/etc/pki", "/shop/data"),
        write=("/var/spool/shop",),
        secrets=("api_key",),
        subprocess=True,
        memory_bytes=2 * 2**30,
        cpu=1.5,
        pids=10,
        wall_s=10_800.0,
        tmp_bytes=64 * 2**20,
        log_bytes=2**20,
        deadlines=Deadlines(5.0, 6.0, 7.0, 8.0),
    )


def test_a_plugin_without_a_manifest_gets_the_narrow_default_and_its_own_ends_credentials() -> None:
    grant = decide(plugin(None), Terms(), end(credentials=("token", "password"), connection={"host": "db:1"}))

    assert grant == Grant(secrets=("password", "token"))


def test_the_defaults_of_limits_are_those_of_a_grant() -> None:
    grant = decide(plugin(None), Terms(), end())

    assert grant == Grant()


@pytest.mark.parametrize(
    ("connection", "network"),
    [
        pytest.param({"host": "db.internal", "port": 6000}, ("db.internal:6000",), id="both keys"),
        pytest.param({"host": ["a", "b:1"], "port": 2}, ("a:2", "b:1"), id="several hosts"),
        pytest.param({"host": "db.internal"}, (), id="no port, so that the other way of asking counts"),
        pytest.param({}, (), id="neither"),
    ],
)
def test_a_host_is_taken_from_the_job(connection: dict[str, Any], network: tuple[str, ...]) -> None:
    asks = capabilities(network=["config:connection.host:connection.port"])

    assert decide(plugin(asks), Terms(), end(connection=connection)).network == network


def test_a_job_without_a_host_where_the_manifest_looks_for_one_is_told_both_places() -> None:
    asks = capabilities(network=["config:connection.url"])

    with pytest.raises(InvalidConfigError) as failure:
        decide(plugin(asks), Terms(), end(connection={"url": "postgres://user:hunter22@db"}))

    assert "job.yaml:3:1 source.connection.url: the host there has no port" in str(failure.value)
    assert "/shop/dativo-plugin.yaml:6:5" in str(failure.value)
    assert "hunter22" not in str(failure.value) + str(failure.value.hint)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        pytest.param("/data/orders.csv", ("/data/orders.csv",), id="a file"),
        pytest.param("/data/*/orders_?.csv", ("/data",), id="a glob: the folder before its first star"),
        pytest.param("/*.csv", ("/",), id="a glob in the root"),
        pytest.param("in*.csv", ("/jobs",), id="a glob beside the job"),
        pytest.param("in/orders.csv", ("/jobs/in/orders.csv",), id="a path from the job's folder on"),
        pytest.param(["/a/x", "/b/y"], ("/a/x", "/b/y"), id="several"),
        pytest.param("s3://bucket/orders.csv", (), id="a URI is no file"),
        pytest.param("-", (), id="stdin is no file"),
        pytest.param(None, (), id="nothing"),
        pytest.param(7, (), id="no path"),
    ],
)
def test_a_path_is_taken_from_the_job(path: object, read: tuple[str, ...]) -> None:
    asks = capabilities(filesystem={"read": ["config:connection.path"]})

    assert decide(plugin(asks), Terms(), end(connection={"path": path})).read == read


def test_a_credential_that_the_manifest_does_not_name_shows_both_sides() -> None:
    asks = capabilities(secrets=["api_key", "token?"])

    with pytest.raises(InvalidConfigError) as failure:
        decide(plugin(asks), Terms(), end(credentials=("api_key", "password")))

    assert "job.yaml:3:1 source.credentials.password" in str(failure.value)
    assert "/shop/dativo-plugin.yaml:5:3 capabilities.secrets: api_key, token?" in str(failure.value)
    assert failure.value.details["unnamed"] == ["password"]


def test_a_named_credential_that_the_job_lacks_is_missing_before_anything_starts() -> None:
    asks = capabilities(secrets=["api_key", "token?"])

    with pytest.raises(MissingConfigError) as failure:
        decide(plugin(asks), Terms(), end(credentials=("token",)))

    assert "source.credentials.api_key" in str(failure.value)
    assert failure.value.details["missing"] == ["api_key"]


def test_a_secret_that_has_no_name_is_refused_where_there_is_a_manifest() -> None:
    place = "job.yaml:6:20 source.connection.url"

    with pytest.raises(InvalidConfigError, match=re.escape(place)):
        decide(plugin(manifest()), Terms(), end(other_secrets=(place,)))
    assert decide(plugin(None), Terms(), end(other_secrets=(place,))) == Grant()


def test_the_difference_between_asked_and_allowed_is_shown_line_by_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\n"
        "defaults: {network: ['*.stripe.com:443']}\n"
        "tenants:\n"
        "  acme:\n"
        "    filesystem: {read: /data/acme}\n"
        "    secrets: [api_key]\n"
        "    resources: {memory: 512Mi}\n"
    )
    asks = manifest(
        capabilities={
            "network": ["api.stripe.com:443", "evil.com:443"],
            "filesystem": {"read": ["/data/acme/in", "/data/acmes"], "write": ["/out"]},
            "secrets": ["api_key", "root_password"],
            "subprocess": True,
        },
        resources={"memory": "2Gi", "wall": "2d"},
        deadlines={"idle": "1h"},
    )

    with pytest.raises(InsufficientPermissionsError) as failure:
        decide(plugin(asks), terms_of(load_policy(policy), "acme"), end(credentials=("api_key", "root_password")))

    message = str(failure.value).replace(str(policy), "policy.yaml").replace("/shop/dativo-plugin.yaml", "manifest")
    assert re.sub(r"\(manifest:\d+:\d+\)", "(manifest)", message) == (
        "the plugin shop-reader asks for more than the tenant acme is allowed:\n"
        "  network\n"
        "    asked    evil.com:443  (manifest)\n"
        "    allowed  *.stripe.com:443  (policy.yaml:2:12 defaults.network)\n"
        "  filesystem.read\n"
        "    asked    /data/acmes  (manifest)\n"
        "    allowed  /data/acme  (policy.yaml:5:18 tenants.acme.filesystem.read)\n"
        "  filesystem.write\n"
        "    asked    /out  (manifest)\n"
        "    allowed  nothing  (policy.yaml says nothing of filesystem.write)\n"
        "  secrets\n"
        "    asked    root_password  (manifest)\n"
        "    allowed  api_key  (policy.yaml:6:5 tenants.acme.secrets)\n"
        "  subprocess\n"
        "    asked    true  (manifest)\n"
        "    allowed  false  (policy.yaml says nothing of subprocess)\n"
        "  resources.memory\n"
        "    asked    2Gi  (manifest)\n"
        "    allowed  512Mi  (policy.yaml:7:17 tenants.acme.resources.memory)\n"
        "  resources.wall\n"
        "    asked    2d  (manifest)\n"
        "    allowed  1d  (policy.yaml says nothing of resources.wall)\n"
        "  deadlines.idle\n"
        "    asked    1h  (manifest)\n"
        "    allowed  15m  (policy.yaml says nothing of deadlines.idle)"
    )
    assert [each["what"] for each in failure.value.details["refused"]][:2] == ["network", "filesystem.read"]
    assert failure.value.hint is not None


def test_one_without_a_manifest_is_told_what_the_job_gives_it_too_much() -> None:
    terms = Terms(tenant="acme", secrets=Said(("api_key",), "policy.yaml:3:5 defaults.secrets"))

    with pytest.raises(InsufficientPermissionsError) as failure:
        decide(plugin(None), terms, end(credentials=("password",)))

    assert "asked    password  (job.yaml:3:1 source.credentials.password)" in str(failure.value)
    assert str(failure.value.hint).startswith("give it less in the job")


def test_a_limit_that_nobody_asks_for_is_the_least_of_default_and_policy() -> None:
    limits = {**dict.fromkeys(LIMITS, Said(math.inf)), "resources.wall": Said(60.0), "resources.memory": Said(2.0**40)}

    grant = decide(plugin(None), Terms(limits=limits), end())

    assert grant.wall_s == 60.0
    assert grant.memory_bytes == Grant().memory_bytes


def test_a_plugin_that_may_not_run_is_told_who_says_so() -> None:
    terms = Terms(tenant="acme", deny=Said(("shop-*",), "policy.yaml:3:5 defaults.plugins.deny"))

    with pytest.raises(InsufficientPermissionsError) as failure:
        decide(plugin(None), terms, end())

    assert str(failure.value) == (
        f"the plugin shop-reader (sha256:{HASH}) may not run for the tenant acme: "
        "policy.yaml:3:5 defaults.plugins.deny has shop-*"
    )


@pytest.mark.parametrize(("folders", "runs"), [(("/jobs",), True), (("/job", "/jobs/acme"), False), ((), False)])
def test_a_job_that_lies_elsewhere_than_its_tenants_do_gets_no_plugin(folders: tuple[str, ...], runs: bool) -> None:
    terms = Terms(tenant="acme", jobs=Said(folders, "policy.yaml:4:5 tenants.acme.jobs"))

    if runs:
        assert decide(plugin(None), terms, end()) == Grant()
    else:
        with pytest.raises(
            InsufficientPermissionsError, match=r"acme's, whose jobs do not lie in /jobs: policy.yaml:4:5"
        ):
            decide(plugin(None), terms, end())


def test_where_a_manifest_is_required_one_without_it_is_told_where_to_write_it() -> None:
    terms = Terms(tenant="acme", needs_manifest=Said(value=True, where="policy.yaml:3:5 defaults.plugins.manifest"))

    with pytest.raises(InsufficientPermissionsError) as failure:
        decide(plugin(None), terms, end())

    assert "policy.yaml:3:5" in str(failure.value)
    assert "dativo-plugin.yaml beside shop.py" in str(failure.value.hint)


def test_the_operators_variables_go_to_every_plugin() -> None:
    terms = Terms(environment=Said(("NO_PROXY", "HTTPS_PROXY")))

    assert decide(plugin(None), terms, end()).environment == ("HTTPS_PROXY", "NO_PROXY")


def test_the_same_grant_has_the_same_hash_and_another_one_another() -> None:
    one, same, other = Grant(network=("a:1",)), Grant(network=("a:1",)), Grant(network=("a:2",))

    assert one.sha256 == same.sha256 != other.sha256
    assert json.loads(json.dumps(one.document())) == one.document()


# Laws


HOSTS = ["a.x.com:443", "b.x.com:443", "a.y.com:443", "*.x.com:443", "a.x.com:80"]
PATHS = ["/data", "/data/acme", "/data/acme/in", "/data/acmes", "/", "/etc"]
SECRETS = ["api_key", "token", "password"]


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=3)


def said(values: list[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | some(values).map(tuple)


ASKS = st.fixed_dictionaries(
    {
        "network": some(HOSTS),
        "filesystem": st.fixed_dictionaries({"read": some(PATHS), "write": some(PATHS)}),
        "secrets": some(SECRETS),
        "subprocess": st.booleans(),
    }
)
RESOURCES = st.fixed_dictionaries(
    {}, optional={"memory": st.sampled_from(["1Mi", "1Gi", "4Gi"]), "wall": st.sampled_from(["1m", "1h", "9d"])}
)
LIMITED = st.fixed_dictionaries(
    {
        "resources.memory": st.sampled_from([2.0**20, 2.0**30, math.inf]),
        "resources.wall": st.sampled_from([60.0, 86_400.0, math.inf]),
    }
)
TERMS = st.builds(
    lambda network, read, write, secrets, subprocess, limits: Terms(
        network=Said(None if network is None else tuple(map(read_allowed, network))),
        read=Said(read),
        write=Said(write),
        secrets=Said(secrets),
        subprocess=Said(subprocess),
        limits={**dict.fromkeys(LIMITS, Said(math.inf)), **{key: Said(value) for key, value in limits.items()}},
    ),
    *(said(HOSTS), said(PATHS), said(PATHS), said(SECRETS), st.booleans(), LIMITED),
)


def decided(asks: dict[str, Any], resources: dict[str, str], terms: Terms) -> Grant | None:
    found = manifest(capabilities=asks, resources=resources)
    try:
        return decide(plugin(found), terms, end(credentials=tuple(asks["secrets"])))
    except InsufficientPermissionsError:
        return None


@settings(max_examples=60)
@given(ASKS, RESOURCES, TERMS)
def test_a_grant_is_all_of_what_is_asked_and_within_the_policy(
    asks: dict[str, Any], resources: dict[str, str], terms: Terms
) -> None:
    grant = decided(asks, resources, terms)

    if grant is not None:
        assert set(grant.network) == set(asks["network"])
        assert set(grant.read) == set(asks["filesystem"]["read"])
        assert set(grant.write) == set(asks["filesystem"]["write"])
        assert set(grant.secrets) == set(asks["secrets"])
        assert grant.subprocess == asks["subprocess"]
        for text in grant.network:
            assert terms.network.value is None or any(each.covers(read_host(text)) for each in terms.network.value)
        for granted, allowed in ((grant.read, terms.read.value), (grant.write, terms.write.value)):
            for path in granted:
                assert allowed is None or any(PurePosixPath(path).is_relative_to(each) for each in allowed)
        assert terms.secrets.value is None or set(grant.secrets) <= set(terms.secrets.value)
        assert terms.subprocess.value or not grant.subprocess
        assert grant.memory_bytes <= terms.limits["resources.memory"].value
        assert grant.wall_s <= terms.limits["resources.wall"].value


@settings(max_examples=60)
@given(ASKS, RESOURCES, TERMS)
def test_a_wider_policy_grants_all_that_a_narrower_one_did(
    asks: dict[str, Any], resources: dict[str, str], terms: Terms
) -> None:
    narrow, wide = decided(asks, resources, terms), decided(asks, resources, Terms())

    assert wide is not None
    if narrow is not None:
        assert (narrow.network, narrow.read, narrow.write) == (wide.network, wide.read, wide.write)
        assert narrow.memory_bytes <= wide.memory_bytes
        assert narrow.wall_s <= wide.wall_s


@settings(max_examples=60)
@given(ASKS, TERMS, st.sampled_from(HOSTS))
def test_asking_for_more_is_never_granted_where_less_was_refused(asks: dict[str, Any], terms: Terms, host: str) -> None:
    less = decided(asks, {}, terms)
    more = decided({**asks, "network": sorted({*asks["network"], host})}, {}, terms)

    assert more is None or less is not None


@pytest.mark.parametrize(
    ("policy", "asked", "private"),
    [
        pytest.param(None, ["config:connection.host"], ("db.internal:5432",), id="the job's own, without a policy"),
        pytest.param(None, ["db.internal:5432"], (), id="not the manifest's"),
        pytest.param(None, ["10.0.0.7:5432"], (), id="nor an address of the manifest's"),
        pytest.param("network: any", ["config:connection.host"], (), id="with a policy, the job's is not enough"),
        pytest.param(
            "{network: any, private: [10.0.0.0/8]}", ["config:connection.host"], ("10.0.0.0/8",), id="a range it says"
        ),
        pytest.param("{private: [10.0.0.0/8]}", [], (), id="a range for no host"),
        pytest.param("network: ['10.0.0.7:*']", ["10.0.0.7:5432"], ("10.0.0.7:5432",), id="an address it allows"),
        pytest.param("network: any", ["10.0.0.7:5432"], (), id="an address that it does not name"),
    ],
)
def test_who_says_so_lets_a_host_have_a_private_address(
    policy: str | None, asked: list[str], private: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\ndefaults: {policy if policy and policy[0] == '{' else f'{{{policy}}}'}\n")
    terms = terms_of(load_policy(path), "acme") if policy else terms_of(None, "acme")

    grant = decide(plugin(capabilities(network=asked)), terms, end(connection={"host": "db.internal:5432"}))

    assert grant.private == private


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.1.1", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200"]
)
def test_a_job_cannot_name_the_machines_way_to_its_credentials(address: str) -> None:
    asks = capabilities(network=["config:connection.host:80"])

    grant = decide(plugin(asks), Terms(), end(connection={"host": address}))

    assert grant.network
    assert grant.private == ()
