import sys
from datetime import timedelta
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from dativo_ingest.sandbox.manifest import Manifest, load_manifest, manifest_beside, manifest_of, read_manifest
from dativo_plugin_sdk.errors import InvalidConfigError, MissingConfigError, PluginLoadError

WHOLE = """\
api: 1
name: stripe-reader
version: 1.4.0
description: Charges and refunds.
requires_sdk: ">=0.1,<1"
entrypoint:
  reader: stripe_reader:StripeReader
capabilities:
  network: ["api.stripe.com:443", "*.files.stripe.com:443", "config:connection.host:connection.port"]
  filesystem: {read: ["config:connection.path", data, /etc/ssl/certs], write: []}
  secrets: [api_key, "webhook_key?"]
  subprocess: false
resources: {memory: 512Mi, cpu: 0.5, pids: 64, wall: 30m, tmp: 256Mi, log: 4Mi}
deadlines: {start: 10s, check: 1m, discover: 2m, idle: 5m}
state_version: 2
config_version: 3
"""
LEAST = "api: 1\nname: tiny\nversion: 1.0.0\n"


def read(text: str) -> Manifest:
    return read_manifest(text.encode(), Path("plugins/dativo-plugin.yaml"))


def test_a_manifest_says_who_a_plugin_is_and_what_it_needs() -> None:
    manifest = read(WHOLE)

    assert (manifest.name, manifest.version, manifest.requires_sdk) == ("stripe-reader", "1.4.0", ">=0.1,<1")
    assert manifest.entry("reader") == "stripe_reader:StripeReader"
    assert manifest.entry("writer") is None
    assert manifest.capabilities.secrets == ["api_key", "webhook_key?"]
    assert manifest.resources.memory == 512 * 2**20
    assert manifest.resources.wall == timedelta(minutes=30)
    assert manifest.deadlines.start == timedelta(seconds=10)
    assert (manifest.state_version, manifest.config_version) == (2, 3)


def test_a_manifest_of_three_lines_asks_for_nothing() -> None:
    manifest = read(LEAST)

    assert manifest.capabilities.network == []
    assert manifest.capabilities.secrets == []
    assert not manifest.capabilities.subprocess
    assert manifest.resources.memory is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("naem: x", ":4:1 naem: unknown key, did you mean name", id="at the top"),
        pytest.param(
            "capabilities:\n  netwrok: []",
            ":5:3 capabilities.netwrok: unknown key, did you mean network",
            id="within a section",
        ),
        pytest.param(
            "capabilities: {filesystem: {reed: []}}",
            ":4:29 capabilities.filesystem.reed: unknown key, did you mean read",
            id="within a section of a section",
        ),
        pytest.param(
            "entrypoint: {reader: {comand: [./x]}}",
            ":4:23 entrypoint.reader.comand: unknown key, did you mean command",
            id="within an entry point",
        ),
        pytest.param("deadlines: {cancel: 1m}", ":4:13 deadlines.cancel: unknown key", id="a deadline of the engine's"),
    ],
)
def test_an_unknown_key_is_an_error_with_its_place_and_a_suggestion(line: str, problem: str) -> None:
    with pytest.raises(InvalidConfigError) as failure:
        read(f"{LEAST}{line}\n")

    assert problem in str(failure.value)
    assert str(failure.value).startswith("plugins/dativo-plugin.yaml:")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(
            "capabilities: {network: [api.x.com]}", ":4:26 capabilities.network[0]", id="a host without a port"
        ),
        pytest.param("capabilities: {network: ['*.com:443']}", ":4:26 capabilities.network[0]", id="a wide star"),
        pytest.param("capabilities: {secrets: [a, '$x']}", ":4:29 capabilities.secrets[1]", id="a secret's name"),
        pytest.param("capabilities: {subprocess: perhaps}", ":4:16 capabilities.subprocess", id="no boolean"),
        pytest.param(
            "capabilities: {filesystem: {read: [~/x]}}", ":4:36 capabilities.filesystem.read[0]", id="somebody's home"
        ),
        pytest.param(
            "capabilities: {filesystem: {read: ['config:credentials.x']}}",
            ":4:36 capabilities.filesystem.read[0]",
            id="a path from credentials",
        ),
        pytest.param("entrypoint: {reader: nothing}", ":4:14 entrypoint.reader", id="no class"),
        pytest.param("entrypoint: {reader: ../x.py:X}", ":4:14 entrypoint.reader", id="a file beyond the folder"),
        pytest.param("entrypoint: {reader: /x.py:X}", ":4:14 entrypoint.reader", id="an absolute file"),
        pytest.param("entrypoint: {reader: {command: []}}", ":4:23 entrypoint.reader.command", id="no command"),
        pytest.param("resources: {memory: 512MB}", ":4:13 resources.memory", id="a unit of ten"),
        pytest.param("resources: {memory: 0}", ":4:13 resources.memory", id="no memory"),
        pytest.param("resources: {wall: 30}", ":4:13 resources.wall", id="a time without a unit"),
        pytest.param("resources: {wall: 0s}", ":4:13 resources.wall", id="no time at all"),
        pytest.param("resources: {cpu: 0}", ":4:13 resources.cpu", id="no processor"),
        pytest.param("resources: {cpu: .nan}", ":4:13 resources.cpu", id="no number of processors"),
        pytest.param("deadlines: {idle: .inf}", ":4:13 deadlines.idle", id="an endless deadline"),
        pytest.param("requires_sdk: latest", ":4:1 requires_sdk", id="no specifier"),
        pytest.param("state_version: 0", ":4:1 state_version", id="no version of a state"),
    ],
)
def test_a_value_that_makes_no_sense_is_an_error_with_its_place(line: str, problem: str) -> None:
    with pytest.raises(InvalidConfigError) as failure:
        read(f"{LEAST}{line}\n")

    assert f"plugins/dativo-plugin.yaml{problem}: " in str(failure.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidConfigError) as failure:
        read("api: 2\nname: a b\nversion: newest\n")

    assert [problem["loc"] for problem in failure.value.details["problems"]] == [["api"], ["name"], ["version"]]


def test_an_empty_manifest_says_what_one_has_at_least() -> None:
    with pytest.raises(InvalidConfigError) as failure:
        read("")

    assert failure.value.hint == "a manifest has at least api, name and version"


def test_a_command_is_a_program_from_the_manifests_folder_on(tmp_path: Path) -> None:
    path = tmp_path / "dativo-plugin.yaml"
    path.write_text(
        f"{LEAST}entrypoint: {{reader: {{command: [bin/reader, -v]}}, writer: {{command: [node, w.js]}}}}\n"
    )

    manifest = load_manifest(path)

    assert manifest.entry("reader") == (f"{tmp_path}/bin/reader", "-v")
    assert manifest.entry("writer") == ("node", "w.js")


def test_a_manifest_that_is_not_there_is_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigError, match="no such manifest"):
        load_manifest(tmp_path / "dativo-plugin.yaml")


@pytest.mark.parametrize(
    ("entry", "speaks_for"),
    [
        pytest.param("", True, id="it names no class"),
        pytest.param("entrypoint: {reader: source.py:Reader}", True, id="it names this class"),
        pytest.param("entrypoint: {reader: source.py:Other}", False, id="another class"),
        pytest.param("entrypoint: {reader: other.py:Reader}", False, id="another file"),
        pytest.param("entrypoint: {writer: source.py:Reader}", False, id="a writer"),
        pytest.param("entrypoint: {reader: package:Reader}", False, id="a module"),
        pytest.param("entrypoint: {reader: {command: [./x]}}", False, id="a program"),
    ],
)
def test_the_manifest_beside_a_file_speaks_for_the_class_that_it_names(
    entry: str,
    speaks_for: bool,
    tmp_path: Path,
) -> None:
    (tmp_path / "dativo-plugin.yaml").write_text(f"{LEAST}{entry}\n")

    manifest = manifest_beside("reader", tmp_path / "source.py", "Reader")

    assert (manifest is not None) is speaks_for


def test_a_file_without_a_manifest_beside_it_has_none(tmp_path: Path) -> None:
    assert manifest_beside("reader", tmp_path / "source.py", "Reader") is None


def installed(folder: Path, *files: str) -> Distribution:
    """Install a distribution by hand: each file that is a manifest says where it lies."""
    info = folder / "shop_plugins-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-plugins\nVersion: 2.0\n")
    for index, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_manifest = name.endswith(".yaml")
        path.write_text(
            f"api: 1\nname: found-{index}\nversion: 2.0\n" if is_manifest else 'raise RuntimeError("ran")\n'
        )
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    return Distribution.at(info)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        pytest.param(["shop/__init__.py", "shop/dativo-plugin.yaml"], "found-1", id="in the package"),
        pytest.param(
            ["shop/__init__.py", "shop/dativo-plugin.yaml", "shop/orders/dativo-plugin.yaml"],
            "found-2",
            id="in the nearest package",
        ),
        pytest.param(
            ["shop/__init__.py", "shop_plugins-2.0.dist-info/dativo-plugin.yaml"], "found-1", id="beside the metadata"
        ),
        pytest.param(
            ["shop/__init__.py", "shop_plugins-2.0.dist-info/extra_metadata/dativo-plugin.yaml"],
            "found-1",
            id="where hatchling puts it",
        ),
        pytest.param(["shop/__init__.py", "other/dativo-plugin.yaml"], None, id="another package's"),
        pytest.param(["shop/__init__.py", "dativo-plugin.yaml"], None, id="everybody's"),
    ],
)
def test_an_installed_plugins_manifest_is_found_without_importing_it(
    files: list[str], name: str | None, tmp_path: Path
) -> None:
    found = manifest_of(installed(tmp_path, *files), "shop.orders.reader")

    assert (found.name if found else None) == name
    assert not {"shop", "shop.orders"} & set(sys.modules)


def test_a_plugin_that_is_installed_for_editing_has_its_manifest_in_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "src" / "editable_shop"
    sources.mkdir(parents=True)
    (sources / "__init__.py").write_text('raise RuntimeError("ran")\n')
    (sources / "dativo-plugin.yaml").write_text(LEAST)
    monkeypatch.syspath_prepend(tmp_path / "src")

    found = manifest_of(installed(tmp_path / "site"), "editable_shop.reader")

    assert found is not None
    assert found.path == sources / "dativo-plugin.yaml"


def test_two_manifests_beside_the_metadata_are_one_too_many(tmp_path: Path) -> None:
    info = "shop_plugins-2.0.dist-info"

    with pytest.raises(PluginLoadError, match="2 files"):
        manifest_of(installed(tmp_path, f"{info}/dativo-plugin.yaml", f"{info}/extra/dativo-plugin.yaml"), "shop")


def test_a_distribution_without_a_manifest_has_none() -> None:
    assert manifest_of(distribution("pytest"), "pytest") is None
