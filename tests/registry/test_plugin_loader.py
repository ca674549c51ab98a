from pathlib import Path

import pytest

from dativo_ingest.plugins import BaseReader, BaseWriter, PluginLoader
from dativo_plugin_sdk import PluginLoadError, PluginVersionError

READER = """
from dativo_ingest.plugins import BaseReader

class Good(BaseReader):
    __version__ = "2.1.0"
    def extract(self, state_manager=None):
        yield []

class Lazy(BaseReader):
    pass

class NewSdk(Good):
    requires_sdk = ">=99"

class BadVersion(Good):
    __version__ = "one"

class NoReader:
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my_plugin.py"
    path.write_text(READER, encoding="utf-8")
    return path


def test_a_reader_is_loaded_from_its_file(plugin: Path) -> None:
    loaded = PluginLoader.load_reader(f"{plugin}:Good")

    assert issubclass(loaded, BaseReader)
    assert loaded.__version__ == "2.1.0"


def test_a_load_error_is_a_value_error_too(plugin: Path) -> None:
    with pytest.raises(ValueError, match="has no class Missing; it has BadVersion, Good, Lazy, NewSdk"):
        PluginLoader.load_reader(f"{plugin}:Missing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("NoReader", "NoReader in .*my_plugin.py is no BaseReader", id="another class"),
        pytest.param("Lazy", "does not implement extract", id="abstract"),
    ],
)
def test_a_class_that_is_no_reader_is_refused(plugin: Path, name: str, message: str) -> None:
    with pytest.raises(PluginLoadError, match=message):
        PluginLoader.load_reader(f"{plugin}:{name}")


def test_a_reader_is_no_writer(plugin: Path) -> None:
    with pytest.raises(PluginLoadError, match="is no BaseWriter"):
        PluginLoader.load_class_from_path(f"{plugin}:Good", BaseWriter)


def test_a_plugin_for_another_sdk_is_refused_with_both_versions(plugin: Path) -> None:
    with pytest.raises(PluginVersionError, match=r"requires dativo-plugin-sdk >=99, this engine has \d") as caught:
        PluginLoader.load_reader(f"{plugin}:NewSdk")

    assert caught.value.hint


def test_a_version_that_is_none_is_refused(plugin: Path) -> None:
    with pytest.raises(PluginVersionError, match="'one', which is no PEP 440 version"):
        PluginLoader.load_reader(f"{plugin}:BadVersion")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("import no_such_module_here", "ModuleNotFoundError", id="import"),
        pytest.param("def broken(:", "SyntaxError", id="syntax"),
        pytest.param("raise SystemExit(3)", "SystemExit", id="exit"),
        pytest.param("1 / 0", "ZeroDivisionError", id="error"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(PluginLoadError, match=f"importing .*broken.py failed: {reason}"):
        PluginLoader.load_reader(f"{path}:Any")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginLoadError, match=r"nowhere\.py does not exist"):
        PluginLoader.load_reader(f"{tmp_path}/nowhere.py:Reader")


def test_a_name_without_a_class_is_explained() -> None:
    with pytest.raises(PluginLoadError, match="does not name a plugin") as caught:
        PluginLoader.load_reader("plugin.py")

    assert caught.value.hint == "write it as path/to/file.py:ClassName"


def test_a_plugin_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "the_neighbour_of_it.py").write_text("VALUE = 7", encoding="utf-8")
    path = tmp_path / "reader.py"
    path.write_text("from the_neighbour_of_it import VALUE\n" + READER, encoding="utf-8")

    assert PluginLoader.load_reader(f"{path}:Good").__module__ != "reader"
