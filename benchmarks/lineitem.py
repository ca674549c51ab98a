"""TPC-H lineitem: its columns and types (TPC-H specification, 1.4.1), all of them required."""

from __future__ import annotations

COLUMNS: dict[str, str] = {
    "l_orderkey": "bigint",
    "l_partkey": "bigint",
    "l_suppkey": "bigint",
    "l_linenumber": "integer",
    "l_quantity": "decimal(15,2)",
    "l_extendedprice": "decimal(15,2)",
    "l_discount": "decimal(15,2)",
    "l_tax": "decimal(15,2)",
    "l_returnflag": "varchar",
    "l_linestatus": "varchar",
    "l_shipdate": "date",
    "l_commitdate": "date",
    "l_receiptdate": "date",
    "l_shipinstruct": "varchar",
    "l_shipmode": "varchar",
    "l_comment": "varchar",
}

_LOGICAL = {"bigint": "integer", "integer": "integer", "decimal(15,2)": "number", "varchar": "string", "date": "date"}


def contract() -> str:
    """Write lineitem as an ODCS 3.1 document."""
    head = [
        "apiVersion: v3.1.0",
        "kind: DataContract",
        "id: tpch-lineitem",
        "name: lineitem",
        "version: 1.0.0",
        "status: active",
        "schema:",
        "  - name: lineitem",
        "    physicalType: table",
        "    properties:",
    ]
    lines = [
        f"      - {{name: {name}, logicalType: {_LOGICAL[kind]}, physicalType: '{kind}', required: true}}"
        for name, kind in COLUMNS.items()
    ]
    return "\n".join([*head, *lines, ""])
