import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dativo_ingest.sandbox import choice
from dativo_ingest.sandbox.choice import Wanted, choose
from dativo_ingest.sandbox.confinement import Confinement, Prepared
from dativo_ingest.sandbox.controls import CONTROLS, Control, Finding, State
from dativo_ingest.sandbox.levels import Backend, Isolation, Mode
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.terms import Said, SandboxTerms
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk.errors import SandboxError

CODE = "5a" * 32


@dataclass
class Held:
    """A back end of which only what it says of itself counts."""

    isolation: Isolation
    states: dict[Control, State] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(each, self.states.get(each, "enforced"), f"by {each} of a test", f"install lib{each}")
            for each in CONTROLS
        )

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def have(monkeypatch: pytest.MonkeyPatch) -> dict[Backend, Held]:
    """Say what the back ends come to here."""
    backends: dict[Backend, Held] = {"process": Held("process"), "container": Held("container")}
    for name in ("process", "container"):
        monkeypatch.setitem(choice.BACKENDS, name, lambda _, name=name: backends[name])
    return backends


def wanted(terms: SandboxTerms = SandboxTerms(), mode: Mode = "self_hosted", least: Isolation | None = None) -> Wanted:  # noqa: B008  frozen
    return Wanted("shop-reader", terms, mode, Said(least, "job.yaml:9:3 sandbox.min"), lambda: CODE)


def said(**terms: object) -> SandboxTerms:
    words = {key: Said(value, f"policy.yaml:4:5 defaults.sandbox.{key}") for key, value in terms.items()}
    return SandboxTerms(**words)  # type: ignore[arg-type]  # what the test says


def refusal(asked: Wanted) -> SandboxError:
    with pytest.raises(SandboxError) as failure:
        choose(asked)
    assert failure.value.error_code == "SANDBOX_UNAVAILABLE"
    assert not failure.value.retryable
    return failure.value


@pytest.mark.parametrize(
    ("asked", "isolation"),
    [
        pytest.param(wanted(mode="cloud"), "container", id="in the cloud, a container"),
        pytest.param(wanted(said(backend="process")), "process", id="what the operator says"),
        pytest.param(wanted(said(backend="container")), "container", id="more than is asked for"),
        pytest.param(wanted(least="container"), "container", id="as much as the job asks for"),
        pytest.param(wanted(said(min="container"), least="process"), "container", id="the stricter of both"),
        pytest.param(wanted(said(min="process"), least="container"), "container", id="whoever is the stricter"),
        pytest.param(wanted(said(min="none"), least="process"), "process", id="the job may ask for more"),
    ],
)
def test_the_lightest_back_end_is_taken_that_is_as_much_as_everybody_asks_for(
    asked: Wanted, isolation: Isolation
) -> None:
    assert choose(asked).isolation == isolation


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        pytest.param(
            wanted(said(backend="process"), mode="cloud"),
            "must have at least isolation container (mode cloud), and gets process",
            id="too little for the cloud",
        ),
        pytest.param(
            wanted(said(backend="process"), least="container"),
            "at least isolation container (job.yaml:9:3 sandbox.min), and gets process",
            id="less than the job asks for",
        ),
        pytest.param(
            wanted(said(backend="container", min="vm")),
            "at least isolation vm (policy.yaml:4:5 defaults.sandbox.min), and gets container",
            id="no kernel of its own",
        ),
        pytest.param(
            wanted(said(backend="none", trusted=(f"sha256:{CODE}",)), least="process"),
            "at least isolation process (job.yaml:9:3 sandbox.min), and gets none",
            id="trusted, and the job asks for more",
        ),
        pytest.param(
            wanted(said(backend="none", trusted=(f"sha256:{CODE}",), min="process")),
            "at least isolation process (policy.yaml:4:5 defaults.sandbox.min), and gets none",
            id="the policy takes it back",
        ),
        pytest.param(
            wanted(said(backend="none", trusted=(f"sha256:{CODE}",)), mode="cloud"),
            "must have at least isolation container (mode cloud), and gets none",
            id="trusted, in the cloud",
        ),
        pytest.param(
            wanted(said(backend="none", trusted=(f"sha256:{CODE[::-1]}",))),
            f"its code sha256:{CODE} is not trusted: policy.yaml:4:5 defaults.sandbox.trusted",
            id="other code is trusted",
        ),
        pytest.param(wanted(said(backend="none")), f"its code sha256:{CODE} is not trusted", id="nothing is trusted"),
    ],
)
def test_less_than_is_asked_for_is_refused_with_who_asks(asked: Wanted, says: str) -> None:
    assert says in str(refusal(asked))


def test_a_plugin_whose_code_the_operator_knows_runs_without_a_sandbox_and_that_is_said_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trusting = wanted(said(backend="none", trusted=(f"sha256:{CODE}",)))

    with caplog.at_level(logging.WARNING, "dativo.plugins"):
        chosen = [choose(trusting) for _ in range(2)]

    assert all(isinstance(each, Unconfined) for each in chosen)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "shop-reader runs without a sandbox" in caplog.text


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("mode", ["self_hosted", "cloud"])
def test_a_control_that_is_absent_is_refused_with_what_to_install(
    control: Control, mode: Mode, have: dict[Backend, Held]
) -> None:
    for each in have.values():
        each.states[control] = "absent"

    error = refusal(wanted(said(backend="container"), mode))

    assert f"  {control}: absent, by {control} of a test" in str(error)
    assert f"install lib{control}" in str(error.hint)
    assert error.details["controls"] == [{"control": control, "state": "absent", "how": f"by {control} of a test"}]


def test_a_control_of_which_nothing_is_said_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "findings", ())

    error = refusal(wanted(said(backend="process")))

    assert [each["control"] for each in error.details["controls"]] == list(CONTROLS)


@pytest.mark.parametrize("control", CONTROLS)
def test_weaker_is_enough_for_what_a_cgroup_would_hold_and_nothing_else(
    control: Control, have: dict[Backend, Held]
) -> None:
    have["process"].states[control] = "weaker"
    asked = wanted(said(backend="process"))

    if control in {"memory", "pids", "cpu"}:
        assert choose(asked).isolation == "process"
    else:
        assert f"  {control}: weaker" in str(refusal(asked))


@pytest.mark.parametrize("state", ["weaker", "absent"])
def test_an_operator_may_do_without_some_controls_but_not_in_the_cloud(state: State, have: dict[Backend, Held]) -> None:
    degradable = ("memory", "pids", "cpu", "disk", "landlock")
    have["container"].states |= dict.fromkeys(degradable, state)
    terms = said(backend="container", allow_degraded=degradable)

    assert choose(wanted(terms)).isolation == "container"
    error = refusal(wanted(terms, mode="cloud"))
    assert [each["control"] for each in error.details["controls"]] == sorted(degradable, key=CONTROLS.index)
    assert "allow_degraded" not in str(error.hint)


def test_allowing_one_control_to_be_absent_allows_no_other(have: dict[Backend, Held]) -> None:
    have["process"].states |= {"disk": "absent", "memory": "absent"}

    error = refusal(wanted(said(backend="process", allow_degraded=("disk",))))

    assert "memory: absent" in str(error)
    assert "disk" not in str(error)
    assert "sandbox.allow_degraded: [memory]" in str(error.hint)


def test_a_kernel_of_its_own_needs_no_landlock(have: dict[Backend, Held]) -> None:
    have["container"] = Held("vm", {"landlock": "absent"})

    assert choose(wanted(said(backend="container", min="vm"), mode="cloud")).isolation == "vm"


def test_the_doubles_here_are_back_ends() -> None:
    held: Confinement = Held("process")

    assert held.isolation == "process"
