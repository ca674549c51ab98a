"""What holds a plugin's processes: chosen in one place, whichever way leads to the plugin."""

from __future__ import annotations

from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.trust import sha256_of_code
from dativo_ingest.sandbox.choice import Wanted, choose
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.process_policy import PROCESS
from dativo_ingest.sandbox.terms import Said, SandboxTerms

ANYTHING: Said[Isolation | None] = Said(None)


def what_holds(
    plugin: FoundPlugin, terms: SandboxTerms | None = None, least: Said[Isolation | None] = ANYTHING
) -> Confinement:
    """Choose the back end for a plugin, in the mode of this process.

    Args:
        plugin: What is to be run.
        terms: What the operator says; nothing where there are none.
        least: The least that a job asks for, and where.

    Raises:
        SandboxError: It cannot be held so here.
    """
    return choose(Wanted(plugin.title, terms or SandboxTerms(), PROCESS.mode, least, lambda: sha256_of_code(plugin)))
