"""What a plugin's code finds where it runs: a function's body as the text of a plugin, and what it gave."""

from __future__ import annotations

import json
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_plugin_sdk.errors import DativoError

_MARK = "found "
_PLUGIN = """
import contextlib, errno, json, os, socket, sys, threading


def outcome(attempt):
    try:
        return attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def probe():
{body}

print({mark!r} + json.dumps(probe()), flush=True)
"""


def within(folder: Path, body: str, grant: Grant | None = None, confinement: Confinement | None = None) -> Any:
    """Run the body of a function while a plugin in a folder is imported; give what it returns, as JSON has it."""
    file = folder / "probing.py"
    file.write_text(_PLUGIN.format(body=textwrap.indent(textwrap.dedent(body), "    "), mark=_MARK))
    code = Code(Path(sys.executable), folder, file)
    command = (sys.executable, "-P", "-m", "dativo_plugin_sdk.host")
    spec = RunSpec("probing", command, grant or Grant(), code=code)
    with closing(Conversation(spec, confinement or Process())) as process:
        process.greet()
        try:
            process.ask("spec", {"plugin": {"file": str(file), "class": "None"}, "kind": "reader"}, within="start")
        except DativoError as error:
            refusal = error
        process.close()
        found = [line for line in process.session.output.last_lines if line.startswith(_MARK)]
    if not found:
        raise refusal
    return json.loads(found[0].removeprefix(_MARK))
