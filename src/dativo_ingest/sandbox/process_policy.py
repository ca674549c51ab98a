"""What this process is and whose policy it obeys: one command, one operator.

It is the process's own, as the values to redact are, so that no way to a plugin can leave the policy out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dativo_ingest.sandbox.levels import Mode
    from dativo_ingest.sandbox.policy import Policy


POLICY_VARIABLE: Final = "DATIVO_POLICY"
BACKEND_VARIABLE: Final = "DATIVO_PLUGIN_TEST_BACKEND"
"""Names the back end that a run of conformance suites asks for."""
ISOLATIONS_VARIABLE: Final = "DATIVO_PLUGIN_TEST_ISOLATIONS"
"""Names the file in which a run of conformance suites notes how it held plugins."""


@dataclass
class ProcessPolicy:
    """What the command line said.

    Attributes:
        policy: The operator's; None allows whatever plugins ask for.
        command: The command, as the audit log names it: ``run``, ``state get``.
        mode: Where Dativo runs: on a machine of one's own, or where strangers' plugins run, too.
    """

    policy: Policy | None = None
    command: str = "run"
    mode: Mode = "self_hosted"

    @property
    def writes_beside_jobs(self) -> bool:
        """Whether the command writes into the job's folder; the others leave no trace of themselves there."""
        return self.command.split(" ", maxsplit=1)[0] in {"run", "state", "table"}


PROCESS = ProcessPolicy()
"""The process's own: the command line sets it."""
