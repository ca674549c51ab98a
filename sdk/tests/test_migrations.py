"""State and configuration of other releases of a plugin: taken over, or refused before anything is done."""

from __future__ import annotations

import copy

import pyarrow as pa
import pytest

from dativo_plugin_sdk import (
    BaseReader,
    DataFormatError,
    PluginExecutionError,
    PluginVersionError,
    SourceConfig,
    StreamReader,
    TargetConfig,
)
from dativo_plugin_sdk.migrating_reader import MigratingReader
from dativo_plugin_sdk.migrations import check_state_version, config_for, stamped, state_for
from dativo_plugin_sdk.simple_reader import SimpleReader
from dativo_plugin_sdk.streams import Partition, Rows, StateChanged, StreamSpec
from dativo_plugin_sdk.versioned import VersionedPlugin, VersionedReader

ORDERS = StreamSpec("orders", mode="incremental")


class Unmoved(VersionedReader):
    __version__ = "1.0"


class Unable(VersionedReader):
    __version__ = "2.0"
    state_version = 2
    config_version = 2


class Able(Unable):
    state_version = 3

    @classmethod
    def migrate_state(cls, state, from_version):
        if from_version == 1:
            state["ids"].append(state.pop("last_id"))
        return {**state, "from": from_version}

    @classmethod
    def migrate_config(cls, config, from_version):
        config["connection"]["url"] = config["connection"].pop("host")
        config["options"]["from"] = from_version
        return config


def test_state_of_version_1_is_committed_as_it_is():
    assert stamped(Unmoved, {"id": 7}) == {"id": 7}
    assert state_for(Unmoved, {"id": 7}, stream="orders") == {"id": 7}


def test_a_later_version_is_committed_beside_the_keys_and_not_shown_to_the_plugin():
    committed = stamped(Able, {"id": 7})

    assert committed == {"id": 7, "_state_version": 3}
    assert state_for(Able, committed, stream="orders") == {"id": 7}


def test_older_state_is_taken_over_by_the_hook_which_may_change_what_it_is_given():
    committed = {"ids": [6], "last_id": 7}
    before = copy.deepcopy(committed)

    assert state_for(Able, committed, stream="orders") == {"ids": [6, 7], "from": 1}
    assert committed == before
    assert state_for(Able, {"ids": [6], "_state_version": 2}, stream="orders") == {"ids": [6], "from": 2}


def test_newer_state_is_refused_with_both_versions_and_the_way_out():
    with pytest.raises(PluginVersionError) as caught:
        state_for(Unable, {"id": 7, "_state_version": 3}, stream="orders")

    assert str(caught.value) == "the state of orders has version 3, Unable 2.0 knows states up to version 2"
    assert "dativo state reset --stream orders" in caught.value.hint
    assert caught.value.details == {"stream": "orders", "state_version": 3, "known": 2}


def test_older_state_without_a_hook_is_refused_with_both_versions_and_the_way_out():
    with pytest.raises(PluginVersionError) as caught:
        state_for(Unable, {"id": 7}, stream="orders")

    assert str(caught.value) == (
        "the state of orders: Unable 2.0 cannot go on from state of version 1: "
        "it makes version 2 and has no migrate_state"
    )
    assert "dativo state reset" in caught.value.hint


@pytest.mark.parametrize("version", [0, -1, "2", 1.5, True, None])
def test_a_stamp_that_is_no_version_is_a_format_error(version):
    with pytest.raises(DataFormatError, match="the state of orders has the _state_version"):
        check_state_version({"_state_version": version}, 3, stream="orders", plugin="shop 1")


def test_a_plugin_may_not_write_the_stamp_itself():
    with pytest.raises(PluginExecutionError, match="made a state with the key _state_version"):
        stamped(Unmoved, {"_state_version": 9})


def _hooked(**hooks):
    return type("Hooked", (Unable,), {name: classmethod(hook) for name, hook in hooks.items()})


def test_a_hook_that_fails_is_named_with_what_it_was_to_take_over():
    def migrate(_cls, state, _from_version):
        return state["missing"]

    with pytest.raises(PluginExecutionError) as caught:
        state_for(_hooked(migrate_state=migrate), {"id": 7}, stream="orders")

    assert str(caught.value) == "the state of orders: Hooked.migrate_state failed: KeyError: 'missing'"
    assert "dativo state reset" in caught.value.hint


def test_what_a_hook_raises_on_purpose_comes_as_it_is():
    def migrate(_cls, _state, from_version):
        raise PluginVersionError(f"nothing before 2, this is {from_version}", hint="run 1.9 once")

    with pytest.raises(PluginVersionError, match="nothing before 2, this is 1") as caught:
        state_for(_hooked(migrate_state=migrate), {"id": 7}, stream="orders")

    assert caught.value.hint == "run 1.9 once"


@pytest.mark.parametrize(
    "returned",
    [None, [1], "state", {"at": {1}}, {"x": float("nan")}, {("a", "b"): 1}, {"_state_version": 2}, {"x": b""}],
    ids=str,
)
def test_a_hook_that_gives_no_state_is_refused(returned):
    plugin = _hooked(migrate_state=lambda _cls, _state, _version: returned)

    with pytest.raises(
        PluginExecutionError, match=r"^the state of orders: Hooked.migrate_state returned .*, expected a s"
    ):
        state_for(plugin, {"id": 7}, stream="orders")


@pytest.fixture
def source():
    return SourceConfig(
        type="shop",
        connection={"host": "a"},
        credentials={"token": "hush"},
        options={"rows": 5},
        engine={"options": {"rows": 5}, "job": "j"},
    )


def test_configuration_of_the_plugin_s_own_version_is_left_alone(source):
    assert config_for(Unmoved, source, 1) is source
    assert config_for(Able, source, 2) is source


def test_older_configuration_is_taken_over_by_the_hook(source):
    migrated = config_for(Able, source, 1)

    assert migrated.connection == {"url": "a"}
    assert migrated.options == {"rows": 5, "from": 1}
    assert migrated.engine == {"options": {"rows": 5, "from": 1}, "job": "j"}
    assert migrated.credentials == {"token": "hush"}
    assert "hush" not in str(migrated.credentials)
    assert source.connection == {"host": "a"}


def test_configuration_that_is_too_new_is_refused_with_both_versions_and_the_way_out(source):
    with pytest.raises(PluginVersionError) as caught:
        config_for(Able, source, 3)

    assert str(caught.value) == "source.config_version is 3, Able 2.0 takes configuration up to version 2"
    assert "install the release" in caught.value.hint


def test_older_configuration_without_a_hook_is_refused_with_both_versions_and_the_way_out():
    with pytest.raises(PluginVersionError) as caught:
        config_for(Unable, TargetConfig(type="shop"), 1)

    assert str(caught.value) == (
        "target: Unable 2.0 does not take configuration of version 1: it takes version 2 and has no migrate_config"
    )
    assert "config_version: 2" in caught.value.hint


def test_a_configuration_hook_that_fails_shows_no_secret(source):
    def migrate(_cls, config, _from_version):
        return config["credentials"]["user"]

    with pytest.raises(PluginExecutionError) as caught:
        config_for(_hooked(migrate_config=migrate), source, 1)

    assert str(caught.value) == "source: Hooked.migrate_config failed: KeyError: 'user'"
    assert caught.value.hint == "write the job for config_version: 2"


@pytest.mark.parametrize(
    "returned",
    [
        None,
        {},
        {"connection": {}, "credentials": {}},
        {"connection": {}, "credentials": {}, "options": None},
        {"connection": {}, "credentials": {}, "options": {}, "more": {}},
    ],
    ids=str,
)
def test_a_configuration_hook_that_gives_no_configuration_is_refused(source, returned):
    plugin = _hooked(migrate_config=lambda _cls, _config, _version: returned)

    with pytest.raises(
        PluginExecutionError, match=r"^source: Hooked.migrate_config returned .*, expected a dict of conn"
    ):
        config_for(plugin, source, 1)


class Orders(StreamReader):
    """Remembers each state that it is given."""

    __version__ = "2.1"
    state_version = 2

    def __init__(self, config):
        super().__init__(config)
        self.given = []

    @classmethod
    def migrate_state(cls, state, from_version):
        return {"id": state["last"] * from_version}

    def check(self, streams):
        return []

    def discover(self, pattern=None):
        raise NotImplementedError

    def schema(self, stream):
        return pa.schema([("id", pa.int64())])

    def partitions(self, stream, state):
        self.given.append(("partitions", state))
        return [Partition("orders")]

    def read(self, stream, partition, state):
        self.given.append(("read", state))
        yield Rows(pa.record_batch({"id": [8]}))
        yield StateChanged({"id": 8})

    def acknowledge(self, stream, state):
        self.given.append(("acknowledge", state))


def test_a_reader_sees_its_own_states_and_the_engine_sees_their_version(source):
    inner = Orders(source)
    reader = MigratingReader(inner, Orders)
    state = {"last": 7}

    reader.acknowledge(ORDERS, state)
    (partition,) = reader.partitions(ORDERS, state)
    rows, changed = reader.read(ORDERS, partition, state)

    assert inner.given == [(name, {"id": 7}) for name in ("acknowledge", "partitions", "read")]
    assert isinstance(rows, Rows)
    assert changed == StateChanged({"id": 8, "_state_version": 2})


def test_a_state_that_cannot_be_taken_over_is_refused_before_anything_is_read(source):
    inner = Orders(source)
    reader = MigratingReader(inner, Orders)

    for call in (
        lambda: reader.partitions(ORDERS, {"_state_version": 3}),
        lambda: next(reader.read(ORDERS, Partition("orders"), {"_state_version": 3})),
        lambda: reader.acknowledge(ORDERS, {"_state_version": 3}),
    ):
        with pytest.raises(PluginVersionError, match=r"version 3, Orders 2\.1 knows states up to version 2"):
            call()

    assert inner.given == []


def test_a_simple_plugin_has_versions_too(source):
    class Shop(BaseReader):
        state_version = 4

        @classmethod
        def migrate_state(cls, state, from_version):
            return {**state, "id": from_version}

        def extract(self, state_manager=None):
            seen = state_manager.get("id", 0)
            yield [{"seen": seen}]
            state_manager.set("id", seen + 1)

    reader = MigratingReader(SimpleReader(Shop, source), Shop)

    rows, changed = reader.read(ORDERS, Partition("orders"), {"_state_version": 3})

    assert rows.batch.to_pylist() == [{"seen": 3}]
    assert changed == StateChanged({"id": 4, "_state_version": 4})


def test_whatever_a_reader_offers_the_adapter_passes_on():
    offered = {name for name, value in vars(StreamReader).items() if callable(value) and not name.startswith("_")}

    assert offered <= set(vars(MigratingReader))


def test_a_writer_has_configuration_of_versions_and_no_states():
    assert not hasattr(VersionedPlugin, "state_version")
