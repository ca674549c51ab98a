"""Whether what a run wrote is what it read: rows, a sum over all of them, and types.

It looks in processes of its own: on Linux the peak of a process begins with that of the one that started it. Run as
results.py expected CSV [LAST_KEY], or as results.py verify FOLDER ROWS TOTAL exact|wide.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path

from environments import lineitem_csv
from lineitem import COLUMNS


@cache
def expected(scale: float, last_key: int | None = None) -> tuple[int, str]:
    """Count lineitem's rows at a scale, up to an ``l_orderkey``, and sum up ``l_extendedprice``."""
    rows, total = json.loads(
        _asked("expected", str(lineitem_csv(scale)), *([] if last_key is None else [str(last_key)]))
    )
    return rows, total


def verified(rows: int, total: str, *, exact_types: bool = True) -> Callable[[Path], None]:
    """Give a function that looks at the Parquet files in a folder.

    Args:
        rows: How many there must be.
        total: What ``l_extendedprice`` must sum up to.
        exact_types: Whether every type must be the source's own; else numbers may be wider.
    """
    return lambda folder: print(end=_asked("verify", str(folder), str(rows), total, "exact" if exact_types else "wide"))


def _asked(*arguments: str) -> str:
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _expect(path: str, last_key: str | None = None) -> None:
    import pyarrow as pa  # noqa: PLC0415  this process is the one that needs it
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    wanted = {"l_orderkey": pa.int64(), "l_extendedprice": pa.decimal128(15, 2)}
    options = csv.ConvertOptions(include_columns=list(wanted), column_types=wanted)
    table = csv.read_csv(path, convert_options=options)
    if last_key is not None:
        table = table.filter(pc.less_equal(table["l_orderkey"], int(last_key)))
    print(json.dumps([table.num_rows, str(pc.sum(table["l_extendedprice"]).as_py())]))


def _verify(folder: str, rows: str, total: str, types: str) -> None:
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.dataset as ds  # noqa: PLC0415

    paths = [path for path in Path(folder).rglob("*.parquet") if not _is_of_dlt(path.relative_to(folder))]
    data = ds.dataset(paths)
    prices = data.to_table(columns=["l_extendedprice"])["l_extendedprice"]
    found = (len(prices), Decimal(str(pc.sum(prices).as_py())).quantize(Decimal("0.01")))
    if found != (int(rows), Decimal(total)):
        sys.exit(f"{folder}: {found} where {rows} rows and {total} were read")
    kinds = {name: data.schema.field(name).type for name in COLUMNS}
    wrong = [f"{name} is {kinds[name]}" for name, kind in COLUMNS.items() if not _fits(kinds[name], kind, types)]
    if wrong:
        sys.exit(f"{folder}: {', '.join(wrong)}")


def _is_of_dlt(path: Path) -> bool:
    return path.parts[0] == "state" or any(part.startswith("_dlt") for part in path.parts)


def _fits(found: object, kind: str, types: str) -> bool:
    accepted = {
        "bigint": {"int64"},
        "integer": {"int32"} if types == "exact" else {"int32", "int64"},
        "date": {"date32[day]"},
        "varchar": {"string", "large_string"},
        "decimal(15,2)": {"decimal128(15, 2)"},
    }[kind]
    return str(found) in accepted or (types == "wide" and "decimal" in kind and str(found).startswith("decimal128(38,"))


if __name__ == "__main__":
    {"expected": _expect, "verify": _verify}[sys.argv[1]](*sys.argv[2:])
