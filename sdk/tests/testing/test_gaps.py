"""What a check's end means, with and without a declared gap."""

from __future__ import annotations

import pytest

from dativo_plugin_sdk.testing import Gap, NotApplicableError, NotDeclaredError
from dativo_plugin_sdk.testing.gaps import GapKind, declared, judge

FAILURE = AssertionError("no")
NOTHING_GIVEN = NotApplicableError("give the case bad_credentials")
UNDECLARED = NotDeclaredError("its write modes are append")


@pytest.mark.parametrize(
    ("raised", "kind", "outcome"),
    [
        pytest.param(None, None, "passed", id="passes"),
        pytest.param(FAILURE, None, "failed", id="fails"),
        pytest.param(NOTHING_GIVEN, None, "failed", id="cannot be checked, and nobody says so"),
        pytest.param(UNDECLARED, None, "gap", id="the class says that it does not do it"),
        pytest.param(None, "not_applicable", "failed", id="passes though it does not apply"),
        pytest.param(None, "not_supported", "failed", id="passes though it is not supported"),
        pytest.param(None, "known_fault", "failed", id="passes though it is a fault"),
        pytest.param(FAILURE, "not_applicable", "failed", id="fails though it does not apply"),
        pytest.param(FAILURE, "not_supported", "gap", id="fails, being unsupported"),
        pytest.param(FAILURE, "known_fault", "gap", id="fails, being a fault"),
        pytest.param(NOTHING_GIVEN, "not_applicable", "gap", id="cannot be checked, as declared"),
        pytest.param(NOTHING_GIVEN, "not_supported", "failed", id="declared unsupported, and never tried"),
        pytest.param(NOTHING_GIVEN, "known_fault", "failed", id="declared a fault, and never tried"),
        pytest.param(UNDECLARED, "not_supported", "gap", id="the class and the gap say the same"),
    ],
)
def test_a_gap_must_be_true(raised: BaseException | None, kind: GapKind | None, outcome: str) -> None:
    gap = None if kind is None else Gap("merge", kind, "because")

    verdict = judge("merge", raised, gap)

    assert verdict.outcome == outcome
    assert (verdict.kind is not None) == (outcome == "gap")
    tells_itself = outcome == "passed" or (raised is FAILURE and kind is None)
    assert (verdict.reason is None) == tells_itself


def test_a_failure_says_how_it_would_be_declared() -> None:
    verdict = judge("bad_credentials", NOTHING_GIVEN, None)

    assert verdict.reason is not None
    assert "Gap('bad_credentials', 'not_applicable', reason)" in verdict.reason


def test_a_gap_speaks_of_one_check_or_of_all_with_its_name() -> None:
    one, every = Gap("types[date]", "not_supported", "one"), Gap("types", "not_supported", "all")

    assert declared([one], "types[date]") is one
    assert declared([one], "types[time]") is None
    assert declared([every], "types[time]") is every
    assert declared([every], "typesetting") is None
