from contextlib import closing

from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.unconfined import Unconfined


def test_a_process_that_runs_longer_than_it_may_is_ended_with_the_way_to_more() -> None:
    with closing(Session(RunSpec("slow", ("sleep", "600"), grant=Grant(wall_s=0.2)), Unconfined())) as session:
        connected = session.connect(lambda: None)
        left = session.wait(60)

    assert not connected
    assert left is not None
    assert left.signal is not None
    assert session.failure is not None
    assert session.failure.error_code == "RESOURCE_TIME"
    assert session.failure.details == {"limit": "wall", "seconds": 0.2}
    assert "resources.wall" in str(session.failure.hint)
