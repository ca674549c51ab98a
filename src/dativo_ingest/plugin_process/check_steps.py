"""A step of a plugin's check, run in its process."""

from __future__ import annotations

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_plugin_sdk.errors import PluginError
from dativo_plugin_sdk.protocol.messages import connection_test_from_json
from dativo_plugin_sdk.results import ConnectionTestResult


def run_step(process: Conversation, number: int) -> ConnectionTestResult:
    """Ask for a step by its number.

    Raises:
        DativoError: As the plugin raised it, or for what became of its process; also where the step found what is
            wrong, and the plugin was denied a host during it.
    """
    answer = process.ask("check_step", {"step": number}, within="check")
    try:
        found = connection_test_from_json(answer)
    except PluginError as error:
        process.refuse(error)
    denied = None if found.success else process.denied(found.message)
    if denied is not None:
        raise denied
    return found
