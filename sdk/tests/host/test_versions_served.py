"""A plugin's process refuses what does not fit its versions before it does anything, and takes over what is older."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_engine import CONFIG, Engine, reader

from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import PluginVersionError
from dativo_plugin_sdk.host.session import Session
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.sockets import Control
from dativo_plugin_sdk.streams import Rows, StateChanged, StreamSpec

A = StreamSpec("a")
SHOP = """
    from dativo_plugin_sdk import BaseReader, BaseWriter

    class Versions:
        config_version = 2

        @classmethod
        def migrate_config(cls, config, from_version):
            return {**config, "connection": {"url": config["connection"]["host"] + str(from_version)}}

    class Shop(Versions, BaseReader):
        __version__ = "2.1"
        state_version = 2

        def __init__(self, config):
            super().__init__(config)
            print("made with", config.connection)

        @classmethod
        def migrate_state(cls, state, from_version):
            return {"id": int(state["last"])}

        def extract(self, state_manager=None):
            print("reads from", state_manager.get_state())
            yield [{"id": state_manager.get("id") + 1}]
            state_manager.set("id", state_manager.get("id") + 1)

    class Lines(Versions, BaseWriter):
        def __init__(self, asset, config, output_base):
            super().__init__(asset, config, output_base)
            print("made with", config.connection)

        def write_batch(self, records, file_counter):
            return []

    class NewSdk(Shop):
        requires_sdk = ">=99"

    class Broken(Shop):
        state_version = "two"
"""
Plugin = Callable[[str], Path]
Converse = Callable[..., Any]


def configure(engine: Engine, plugin: Path, name: str, config_version: int) -> dict[str, Any]:
    spec = engine.ask("spec", **reader(plugin, name))
    engine.ask("configure", config=messages.config_to_json(CONFIG), config_version=config_version)
    return spec


def test_older_state_and_configuration_are_taken_over_and_states_carry_their_version(
    plugin: Plugin, converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(SHOP)

    def talk(engine: Engine) -> Any:
        spec = configure(engine, path, "Shop", 1)
        return spec, engine.read(A, {"last": "7"}), engine.read(A, {"id": 8, "_state_version": 2})

    spec, older, own = converse(talk)

    assert (spec["version"], spec["state_version"], spec["config_version"]) == ("2.1", 2, 2)
    assert [each.batch.to_pylist() for each in (*older, *own) if isinstance(each, Rows)] == [[{"id": 8}], [{"id": 9}]]
    assert older[-1] == StateChanged({"id": 8, "_state_version": 2})
    assert "made with {'url': 'h1'}" in capsys.readouterr().out


def test_newer_state_is_refused_before_anything_is_read(
    plugin: Plugin, converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(SHOP)

    def talk(engine: Engine) -> None:
        configure(engine, path, "Shop", 2)
        with pytest.raises(
            PluginVersionError, match=r"the state of a has version 3, Shop 2\.1 knows .* version 2"
        ) as e:
            engine.read(A, {"id": 7, "_state_version": 3})
        assert "dativo state reset --stream a" in str(e.value.hint)

    converse(talk)

    assert "reads from" not in capsys.readouterr().out


def test_newer_configuration_is_refused_before_an_instance_is_made(
    plugin: Plugin, converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(SHOP)

    def talk(engine: Engine) -> None:
        with pytest.raises(
            PluginVersionError, match=r"source\.config_version is 3, Shop 2\.1 takes .* up to version 2"
        ):
            configure(engine, path, "Shop", 3)

    converse(talk)

    assert "made with" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NewSdk", r"NewSdk 2\.1 requires dativo-plugin-sdk >=99, its environment has \d"),
        ("Broken", "Broken has the state_version 'two', expected a whole number"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_as_soon_as_it_is_imported(
    plugin: Plugin, converse: Converse, name: str, message: str
) -> None:
    path = plugin(SHOP)

    def talk(engine: Engine) -> None:
        with pytest.raises(PluginVersionError, match=message):
            engine.ask("spec", **reader(path, name))

    converse(talk)


def test_a_class_that_says_no_version_leaves_it_to_its_manifest(plugin: Plugin, converse: Converse) -> None:
    path = plugin(SHOP.replace('__version__ = "2.1"', ""))

    spec = converse(lambda engine: engine.ask("spec", **reader(path, "Shop")))

    assert spec["version"] is None


def test_a_writer_s_older_configuration_is_taken_over(plugin: Plugin, converse: Converse) -> None:
    path = plugin(SHOP)
    config = messages.config_to_json(TargetConfig(type="lines", connection={"host": "h"}))

    def talk(engine: Engine) -> None:
        engine.ask("spec", kind="writer", plugin={"file": str(path), "class": "Lines"})
        engine.ask("configure", config=config, config_version=1)
        with pytest.raises(PluginVersionError, match=r"target\.config_version is 3, Lines 1\.0\.0 takes"):
            engine.ask("configure", config=config, config_version=3)

    converse(talk)


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "reject", "error": {"message": "the plugin speaks protocol 1, this engine speaks 2"}},
        {"type": "welcome", "protocol": 2, "run_id": "r", "limits": {}},
        {"type": "welcome", "run_id": "r", "limits": {}},
    ],
    ids=["rejected", "welcomed in another protocol", "welcomed in none"],
)
def test_with_an_engine_of_another_protocol_the_process_ends_and_imports_nothing(answer: dict[str, Any]) -> None:
    control, engines_control = socket.socketpair()
    data, engines_data = socket.socketpair()
    ended: list[bool] = []
    with control, engines_control, data, engines_data:
        engine = Control(engines_control)
        engine.send(answer)
        engine.send({"type": "request", "id": 1, "method": "spec", "params": reader(Path("none.py"), "None")})
        engines_control.shutdown(socket.SHUT_WR)

        Session(control, data, gone=lambda: ended.append(True)).serve()

        control.close()
        assert engines_control.recv(1) == b"", "nothing was answered"
    assert ended == [True]
