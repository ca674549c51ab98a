import json
from pathlib import Path

from click.testing import CliRunner
from container_engines import ContainerEngine

from dativo_ingest.cli.program import dativo


def test_every_control_of_a_container_is_tried_and_none_is_got_past(docker: ContainerEngine, tmp_path: Path) -> None:
    sandbox = {"engine": docker.url, "image": docker.image}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"version": 1, "defaults": {"sandbox": sandbox}}))

    done = CliRunner().invoke(
        dativo, ["doctor", "--backend", "container", "--mode", "cloud", "--policy", str(policy), "--json"]
    )

    document = json.loads(done.stdout)
    (backend,) = document["backends"]
    tried = {each["attempt"]: each["outcome"] for control in backend["controls"] for each in control["tried"]}
    assert backend["error"] is None, backend["error"]
    assert done.exit_code == 0, [each for each in backend["controls"] if not each["enough"]]
    assert backend["isolation"] == "container"
    assert "through" not in tried.values()
    assert tried["read a file of another's"] == tried["connect to a server of this machine"] == "blocked"
    assert document["machine"]["engine"]["kind"] == "Docker"
