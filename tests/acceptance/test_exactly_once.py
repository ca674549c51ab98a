"""Whatever is killed, whoever runs beside: the table holds the source's rows once."""

import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from crash_runs import SIGKILLED, Zygote
from workshop import Workshop

ROWS = 2_000_000
KILLS = 5  # of each target; small runs are killed 200 times in tests/crash
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: events
name: events
version: 1.0.0
status: active
schema:
  - name: events
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true}
      - {name: amount, logicalType: number, physicalType: 'decimal(12,2)', required: true}
      - {name: label, logicalType: string, required: true}
"""


def prepare(workshop: Workshop, rows: int) -> Workshop:
    ids = pa.array(range(rows), pa.int64())
    table = pa.table(
        {
            "id": ids,
            "amount": pc.divide(pc.cast(ids, pa.float64()), 100),
            "label": pc.binary_join_element_wise("label", pc.cast(pc.bit_wise_and(ids, 1023), pa.string()), "-"),
        }
    )
    pyarrow.csv.write_csv(table, workshop.folder / "events.csv")
    # One row in the quarantine, so that it too is counted once.
    with (workshop.folder / "events.csv").open("a", encoding="utf-8") as file:
        file.write('"none",1.00,"bad"\n')
    (workshop.folder / "events.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    return workshop.job(
        {"connector": "csv", "connection": {"path": "events.csv"}},
        {"events": {"mode": "incremental", "contract": "events.odcs.yaml"}},
    )


def assert_the_rows_are_there_once(workshop: Workshop, rows: int) -> None:
    events = workshop.table("events")
    assert events.num_rows == rows
    assert pc.count_distinct(events["id"]).as_py() == rows
    assert pc.sum(events["id"]).as_py() == rows * (rows - 1) // 2
    assert workshop.table("events__quarantine").num_rows == 1


@pytest.mark.timeout(900)
def test_a_run_killed_at_random_moments_and_run_again_lands_each_row_once(
    each_target: Workshop, zygote: Zygote
) -> None:
    workshop = prepare(each_target, ROWS)
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    code, duration_s = zygote.run(workshop.config)
    assert code == 0
    assert_the_rows_are_there_once(workshop, ROWS)
    start_over(workshop.place)

    killed = 0
    while killed < KILLS:
        code, _ = zygote.run(workshop.config, kill_after_s=moments.uniform(0, 1) * duration_s)
        if code == 0:  # it was faster: the run is whole, and the next one starts from nothing
            assert_the_rows_are_there_once(workshop, ROWS)
            start_over(workshop.place)
            continue
        assert code == SIGKILLED, f"seed {seed}"
        killed += 1
    again = workshop.run()

    assert again.code == 0, f"seed {seed}: {again.stderr}"
    assert_the_rows_are_there_once(workshop, ROWS)


def test_of_two_runners_started_together_the_rows_land_once(each_target: Workshop) -> None:
    workshop = prepare(each_target, 200_000)

    processes = [workshop.start() for _ in range(2)]
    codes = sorted(process.wait(timeout=200) for process in processes)

    assert codes == [0, 0]  # the second waits, and finds nothing new
    assert_the_rows_are_there_once(workshop, 200_000)


def test_of_two_runners_without_leases_the_rows_land_once(each_target: Workshop) -> None:
    workshop = prepare(each_target, 200_000)
    (workshop.folder / ".dativo").write_text("in the way of the folder: no lease can be kept")

    processes = [workshop.start() for _ in range(2)]
    codes = sorted(process.wait(timeout=200) for process in processes)

    assert codes in ([0, 79], [0, 0])
    assert_the_rows_are_there_once(workshop, 200_000)


def start_over(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        for file in place.parent.glob(f"{place.name}*"):
            file.unlink()
