"""Which errors a denied host is behind."""

import pytest

from dativo_ingest.sandbox.egress.denied import explained
from dativo_ingest.sandbox.egress.record import Denial
from dativo_ingest.sandbox.hosts import Host
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_plugin_sdk.errors import (
    AuthenticationError,
    CommitStateUnknownError,
    ConfigurationError,
    DataError,
    DativoError,
    FencedError,
    MemoryLimitError,
    NetworkError,
    PluginExecutionError,
    RateLimitError,
    SandboxError,
)

SPEC = RunSpec("crm-reader", ("python",), manifest="crm/dativo-plugin.yaml")
DENIAL = Denial(
    Host("api.example.com", 443), "host", "it is not granted", "capabilities.network", "api.example.com:443"
)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(NetworkError("no route"), id="a network's"),
        pytest.param(ConfigurationError("cannot connect"), id="one that blames the configuration"),
        pytest.param(PluginExecutionError("unforeseen"), id="one that nobody foresaw"),
        pytest.param(
            PluginExecutionError("it ended", error_code="PLUGIN_CRASHED", details={"exit_code": 1}), id="an end"
        ),
    ],
)
def test_an_error_that_a_denial_may_be_behind_becomes_one_that_says_so(error: DativoError) -> None:
    found = explained(SPEC, error, [DENIAL])

    assert isinstance(found, SandboxError)
    assert found.error_code == "EGRESS_DENIED"
    assert found.__cause__ is error
    assert found.hint == (
        'capabilities.network: ["api.example.com:443"]  in crm/dativo-plugin.yaml, as far as the operator\'s policy '
        "allows it"
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(AuthenticationError("401"), id="a host has answered: who are you"),
        pytest.param(RateLimitError("429"), id="a host has answered: later"),
        pytest.param(DataError("no JSON"), id="a host has answered: something"),
        pytest.param(CommitStateUnknownError("no answer"), id="what became of a commit"),
        pytest.param(FencedError("another run"), id="another run has committed"),
        pytest.param(MemoryLimitError("too much"), id="a limit"),
        pytest.param(SandboxError("ptrace"), id="a system call"),
        pytest.param(
            PluginExecutionError("killed", error_code="PLUGIN_CRASHED", details={"exit_code": None}), id="a signal"
        ),
    ],
)
def test_an_error_with_a_cause_of_its_own_stays_and_tells_of_the_denial(error: DativoError) -> None:
    found = explained(SPEC, error, [DENIAL])

    assert found is error
    assert error.details["denied"] == [DENIAL.document()]
