from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.root_view import RootView, root_view
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_plugin_sdk.errors import SandboxError

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
ENGINE = Path(sys.executable)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


def view_of(
    plugins: Path, *, python: Path | None = ENGINE, command: tuple[str, ...] = ("",), grant: Grant | None = None
) -> RootView:
    file = plugins / "shop.py"
    spec = RunSpec("shop", command, grant or Grant(), code=Code(python, plugins, file))
    return root_view(spec, {})


def shows(view: RootView, path: Path) -> bool:
    real = path.resolve()
    hidden = any(real.is_relative_to(each) for each in view.hidden)
    return not hidden and any(real.is_relative_to(mount.path) for mount in view.mounts)


def access_to(view: RootView, path: Path) -> str:
    return next(mount.access for mount in reversed(view.mounts) if path.resolve().is_relative_to(mount.path))


def environment(folder: Path, *, home: str, python: Path) -> Path:
    """Make what looks like an environment, as a plugin may bring it."""
    packages = folder / "lib" / VERSION / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {home}\n")
    return folder / "bin" / "python"


def installation(prefix: Path, version: str = VERSION) -> Path:
    """Make what looks like a base Python."""
    (prefix / "lib" / version).mkdir(parents=True)
    (prefix / "lib" / version / "os.py").write_text("")
    (prefix / "bin").mkdir()
    python = prefix / "bin" / version
    python.write_text("ELF")
    python.chmod(0o755)
    return python


def test_the_engines_python_and_its_packages_are_shown(plugins: Path) -> None:
    import pyarrow as pa

    import dativo_plugin_sdk

    view = view_of(plugins)

    for path in (os.__file__, pa.__file__, dativo_plugin_sdk.__file__, sys.executable):
        assert shows(view, Path(path))
    assert view.command is None
    assert all(mount.access == "read" for mount in view.mounts)


def test_what_lies_beside_what_is_shown_is_not(plugins: Path) -> None:
    (plugins.parent / "other").mkdir()

    view = view_of(plugins)

    for path in ("/etc/shadow", "/etc/passwd", "/usr/bin/env", "/root", "/home", "/var", str(plugins.parent / "other")):
        assert not shows(view, Path(path))


def test_an_environment_beside_the_plugin_is_run_with_its_base_python(plugins: Path, tmp_path: Path) -> None:
    base = installation(tmp_path / "opt" / "python")
    python = environment(plugins / ".venv", home=str(base.parent), python=base)

    view = view_of(plugins, python=python, command=(str(python), "-m", "dativo_plugin_sdk.host"))

    assert shows(view, base)
    assert shows(view, base.parents[1] / "lib" / VERSION / "os.py")
    assert view.command == (str(python), "-m", "dativo_plugin_sdk.host")
    assert str(base) in view.executable


def test_a_home_that_is_no_python_makes_nothing_visible(plugins: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "bin").mkdir(parents=True)
    (victim / "secret").write_text("")
    base = installation(tmp_path / "opt" / "python")
    python = environment(plugins / ".venv", home=str(victim / "bin"), python=base)

    view = view_of(plugins, python=python, command=(str(python),))

    assert not shows(view, victim / "secret")
    assert not shows(view, victim / "bin")


def test_a_python_that_leads_to_no_installation_is_refused(plugins: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim" / "bin" / VERSION
    victim.parent.mkdir(parents=True)
    victim.write_text("")
    python = environment(plugins / ".venv", home="/usr/bin", python=victim)

    with pytest.raises(SandboxError, match="no installation of Python") as caught:
        view_of(plugins, python=python, command=(str(python),))

    assert caught.value.error_code == "SANDBOX_UNAVAILABLE"


def test_an_installation_whose_library_is_a_link_elsewhere_is_none(plugins: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / VERSION).mkdir(parents=True)
    (victim / VERSION / "os.py").write_text("")
    fake = tmp_path / "fake"
    (fake / "bin").mkdir(parents=True)
    (fake / "bin" / VERSION).write_text("")
    (fake / "lib").symlink_to(victim)
    python = environment(plugins / ".venv", home=str(fake / "bin"), python=fake / "bin" / VERSION)

    with pytest.raises(SandboxError, match="no installation of Python"):
        view_of(plugins, python=python, command=(str(python),))


def test_an_environment_that_is_a_link_out_of_the_plugins_folder_is_refused(plugins: Path, tmp_path: Path) -> None:
    base = installation(tmp_path / "opt" / "python")
    environment(tmp_path / "another tenant's", home=str(base.parent), python=base)
    (plugins / ".venv").symlink_to(tmp_path / "another tenant's")
    python = plugins / ".venv" / "bin" / "python"

    with pytest.raises(SandboxError, match="is not in the folder of shop"):
        view_of(plugins, python=python, command=(str(python),))


def test_path_files_of_an_environment_that_a_plugin_brings_show_nothing(plugins: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    base = installation(tmp_path / "opt" / "python")
    python = environment(plugins / ".venv", home=str(base.parent), python=base)
    (plugins / ".venv" / "lib" / VERSION / "site-packages" / "x.pth").write_text(f"{victim}\n")

    view = view_of(plugins, python=python, command=(str(python),))

    assert not shows(view, victim)


def test_a_link_in_a_plugins_folder_shows_nothing(plugins: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (plugins / "data").symlink_to(victim)

    assert not shows(view_of(plugins), victim)


@pytest.mark.parametrize("bars", [0o1777, None])
def test_of_a_folder_of_many_only_the_plugins_file_is_shown(
    plugins: Path, bars: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plugins / "shop.py").write_text("")
    (plugins / "other.py").write_text("")
    if bars is None:
        monkeypatch.setenv("HOME", str(plugins))
    else:
        plugins.chmod(bars)

    view = view_of(plugins)

    assert shows(view, plugins / "shop.py")
    assert not shows(view, plugins / "other.py")


def test_other_runs_sockets_are_hidden_where_they_lie_in_a_plugins_folder(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plugins / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(plugins / "tmp"))

    assert plugins / "tmp" in view_of(plugins).hidden


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/self", "/dev", "/sys/kernel", "/run"])
def test_what_is_the_sandboxs_own_cannot_be_granted(plugins: Path, path: str) -> None:
    with pytest.raises(SandboxError, match="cannot be granted"):
        view_of(plugins, grant=Grant(read=(path,)))


def test_the_folder_of_other_runs_sockets_cannot_be_granted(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    with pytest.raises(SandboxError, match="cannot be granted"):
        view_of(plugins, grant=Grant(write=(str(tmp_path / "tmp"),)))
    assert tmp_path / "tmp" in view_of(plugins, grant=Grant(read=(str(tmp_path),))).hidden


def test_a_socket_cannot_be_granted(plugins: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))

        with pytest.raises(SandboxError, match="neither a file nor a folder"):
            view_of(plugins, grant=Grant(read=(str(tmp_path / "docker.sock"),)))


def test_granted_paths_are_shown_as_they_are_granted(plugins: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to("real")
    (real / "in").mkdir()
    (tmp_path / "out").mkdir()

    view = view_of(plugins, grant=Grant(read=(str(tmp_path / "link" / "in"),), write=(str(tmp_path / "out"),)))

    assert (access_to(view, real / "in"), access_to(view, tmp_path / "out")) == ("read", "write")
    assert view.links[tmp_path / "link"] == str(real)
    assert set(view.granted) == {str(real / "in"), str(tmp_path / "out")}
    assert not shows(view, real)


def test_a_plugins_code_stays_read_only_in_a_folder_that_it_may_write(plugins: Path) -> None:
    (plugins / "shop.py").write_text("")
    (plugins / "helper").mkdir()
    (plugins / "helper" / "__init__.py").write_text("")
    (plugins / "rows.csv").write_text("")

    view = view_of(plugins, grant=Grant(write=(str(plugins),)))

    code = (plugins / "shop.py", plugins / "helper" / "__init__.py")
    assert [access_to(view, path) for path in (*code, plugins / "rows.csv")] == ["read", "read", "write"]


def test_programs_are_shown_where_they_may_be_started(plugins: Path) -> None:
    view = view_of(plugins, grant=Grant(subprocess=True))

    assert shows(view, Path("/usr/bin/env"))
    assert "/usr" in view.executable


def test_a_program_is_shown_with_what_its_first_line_names(plugins: Path) -> None:
    program = plugins / "reader"
    program.write_text("#!/usr/bin/env sh\n")
    program.chmod(0o755)

    view = view_of(plugins, python=None, command=(str(program),))

    assert shows(view, Path("/usr/bin/env"))
    assert {str(program), str(Path("/bin/sh").resolve())} <= set(view.executable)
    assert not shows(view, Path("/usr/bin/id"))


def test_a_program_that_is_none_is_not_shown(plugins: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")

    view = view_of(plugins, python=None, command=(str(secret),))

    assert not shows(view, secret)
