"""A secret's value shows nowhere: a plugin that shouts it from every place it can is swept for it in every form."""

import base64
import json
import subprocess
from urllib.parse import quote, quote_plus

import pytest
from workshop import Workshop

from dativo_ingest.run import exit_codes

CANARY = 'c4n4ry/+"key" &ü?'
SHOUTING = """
import base64, json, logging, sys, warnings
from urllib.parse import quote
from dativo_ingest.plugins import BaseReader, ConnectionTestResult, DiscoveryResult

class Shouting(BaseReader):
    def all_forms(self):
        key = self.source_config.credentials["key"]
        return [key, quote(key, safe=""), base64.b64encode(key.encode()).decode(),
                base64.b64encode(("user:" + key).encode()).decode(), json.dumps(key), repr(key),
                repr(self.source_config), str(self.source_config.credentials)]

    def shout(self):
        for form in self.all_forms():
            print(form)
            print(form, file=sys.stderr)
            logging.getLogger("shouting").error("key %s", form)
            warnings.warn(form)

    def check_connection(self):
        self.shout()
        return ConnectionTestResult(False, " ".join(self.all_forms()), "AUTH_FAILED", {"forms": self.all_forms()})

    def discover(self):
        self.shout()
        return DiscoveryResult([{"name": "s", "type": "table", "note": self.all_forms()}], {"url": self.all_forms()})

    def extract(self, state_manager=None):
        self.shout()
        yield [{"id": 1}]
        state_manager.set("at", 1)
        if "MEND" not in self.source_config.options:
            secret_in_a_local_variable = self.all_forms()
            raise ValueError(" ".join(secret_in_a_local_variable))
"""


def forms() -> list[bytes]:
    raw = CANARY.encode()
    return [
        raw,
        json.dumps(CANARY)[1:-1].encode(),
        json.dumps(CANARY, ensure_ascii=False)[1:-1].encode(),
        repr(CANARY)[1:-1].encode(),
        quote(CANARY, safe="").encode(),
        quote_plus(CANARY).encode(),
        base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
        base64.b64encode(b"user:" + raw)[8:-4],
    ]


def sweep(what: str, content: bytes) -> None:
    found = [form for form in forms() if form in content]
    assert not found, f"{what} shows {found}"


@pytest.fixture
def shouting(workshop: Workshop) -> Workshop:
    secrets = workshop.folder / "secrets"
    secrets.mkdir()
    (secrets / "api").write_text(CANARY, encoding="utf-8")
    plugin = workshop.folder / "shouting.py"
    plugin.write_text(SHOUTING, encoding="utf-8")
    return workshop.job(
        {"connector": "shouting.py:Shouting", "credentials": {"key": "${secret:api}"}},
        {"s": {"mode": "incremental"}},
        secrets={"file": {"directory": str(secrets)}},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--verbose"],
        ["check", "--json"],
        ["discover", "--verbose"],
        ["discover", "--json"],
        ["preview"],
        ["run", "--debug", "--report", "report.json"],
        ["run", "--log-format", "json", "--progress", "json", "--report", "-"],
        ["state", "get"],
        ["state", "export"],
        ["state", "history"],
        ["table", "health"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_secret_in_any_form(shouting: Workshop, arguments: list[str]) -> None:
    done = subprocess.run(
        shouting.command(*arguments), capture_output=True, cwd=shouting.folder, timeout=120, check=False
    )

    assert done.returncode != exit_codes.USAGE
    assert done.stdout or done.stderr
    sweep("stdout", done.stdout)
    sweep("stderr", done.stderr)
    for path in shouting.folder.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            sweep(str(path), path.read_bytes())


def test_a_secret_reaches_the_plugin_and_the_rows_land(shouting: Workshop) -> None:
    job = json.loads(shouting.config.read_text(encoding="utf-8"))
    job["source"]["options"] = {"MEND": True}
    shouting.config.write_text(json.dumps(job), encoding="utf-8")

    ran = shouting.run()

    assert ran.code == 0, ran.stderr
    assert shouting.table("s").num_rows == 1
    for path in (path for path in shouting.place.rglob("*") if path.is_file()):
        sweep(str(path), path.read_bytes())


def test_what_a_plugin_prints_leaves_stdout_to_the_result(shouting: Workshop) -> None:
    done = subprocess.run(shouting.command("discover", "--json"), capture_output=True, timeout=120, check=False)

    assert json.loads(done.stdout)["schema"] == "dativo.discover/1"
