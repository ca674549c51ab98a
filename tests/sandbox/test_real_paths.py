from pathlib import Path

import pytest
import yaml

from dativo_ingest.sandbox.asked import EndConfig
from dativo_ingest.sandbox.grant import Applicant, Grant, decide
from dativo_ingest.sandbox.manifest import read_manifest
from dativo_ingest.sandbox.real_paths import look_at
from dativo_ingest.sandbox.root_view import root_view
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_plugin_sdk.errors import InsufficientPermissionsError, SandboxError

ASKS = {
    "api": 1,
    "name": "shop-reader",
    "version": "1.0.0",
    "capabilities": {"filesystem": {"read": ["config:connection.path"]}},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make two tenants' folders: one has a link into the other's."""
    for tenant in ("acme", "globex"):
        (tmp_path / tenant).mkdir()
        (tmp_path / tenant / "orders.csv").write_text(f"{tenant}\n")
    (tmp_path / "acme" / "theirs").symlink_to(tmp_path / "globex")
    (tmp_path / "acme" / "own").symlink_to(tmp_path / "acme" / "orders.csv")
    return tmp_path


def granted(path: Path, folder: Path) -> Grant:
    applicant = Applicant("shop", "ab" * 32, read_manifest(yaml.safe_dump(ASKS).encode(), Path("/shop/m.yaml")))
    terms = Terms(tenant="acme", read=Said((str(folder),), "policy.yaml:3:5 defaults.filesystem.read"))
    return decide(applicant, terms, EndConfig("source", folder, {"path": str(path)}))


@pytest.mark.parametrize("path", ["acme/theirs", "acme/theirs/orders.csv", "acme/theirs/none.csv"])
def test_a_link_out_of_what_is_allowed_is_refused_with_where_it_leads(path: str, data: Path) -> None:
    with pytest.raises(InsufficientPermissionsError) as failure:
        granted(data / path, data / "acme")

    assert f"asked    {data}/{path}, which leads to {data}/globex" in str(failure.value)


@pytest.mark.parametrize("path", ["acme/orders.csv", "acme/own", "acme"])
def test_a_link_within_what_is_allowed_is_none_the_worse(path: str, data: Path) -> None:
    grant = granted(data / path, data / "acme")

    assert grant.read == (str(data / path),)
    assert grant.read_within == (str(data / "acme"),)


def test_what_the_operator_allows_may_be_a_link_itself(data: Path) -> None:
    (data / "tenant").symlink_to("acme")

    grant = granted(data / "tenant" / "orders.csv", data / "tenant")

    assert grant.read_within == (str(data / "acme"),)


def test_a_path_that_becomes_a_link_after_it_was_granted_is_not_shown(data: Path) -> None:
    grant = granted(data / "acme" / "orders.csv", data / "acme")
    shown = root_view(RunSpec("shop", ("/bin/true",), grant), {})

    (data / "acme" / "orders.csv").unlink()
    (data / "acme" / "orders.csv").symlink_to(data / "globex" / "orders.csv")

    assert str(data / "acme" / "orders.csv") in shown.granted
    with pytest.raises(SandboxError, match="now leads to") as failure:
        root_view(RunSpec("shop", ("/bin/true",), grant), {})
    assert failure.value.error_code == "SANDBOX_UNAVAILABLE"


@pytest.mark.parametrize("path", ["acme/theirs/orders.csv", "acme/theirs"])
def test_nothing_is_looked_at_through_a_link(path: str, data: Path) -> None:
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        look_at(data / path)


def test_what_is_looked_at_is_what_the_name_means(data: Path) -> None:
    assert look_at(data / "globex" / "orders.csv").st_ino == (data / "globex" / "orders.csv").stat().st_ino
