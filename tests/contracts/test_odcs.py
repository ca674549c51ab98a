from pathlib import Path

import pyarrow as pa
import pytest

from dativo_ingest.contracts.odcs import load_contract
from dativo_plugin_sdk import MissingConfigError, SchemaValidationError

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
"""

ORDERS = (
    HEAD
    + """\
name: Orders
schema:
- name: orders
  properties:
  - name: region
    logicalType: string
    primaryKey: true
    primaryKeyPosition: 2
    partitioned: true
    partitionKeyPosition: 2
  - name: id
    logicalType: integer
    primaryKey: true
    primaryKeyPosition: 1
    description: Which order
  - name: amount
    physicalType: decimal(15, 2)
    required: true
  - name: created_on
    logicalType: date
    partitioned: true
    partitionKeyPosition: 1
"""
)


def write(folder: Path, text: str) -> Path:
    path = folder / "orders.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *, stream: str = "orders", table: str = "orders"):
    return load_contract(write(folder, text), stream=stream, table=table)


def error_of(folder: Path, text: str, *, stream: str = "orders") -> str:
    with pytest.raises(SchemaValidationError) as caught:
        load(folder, text, stream=stream)
    return str(caught.value).replace(str(folder) + "/", "")


def with_property(yaml: str) -> str:
    inner = "\n".join("    " + line for line in yaml.strip("\n").splitlines())
    return f"{HEAD}schema:\n- name: orders\n  properties:\n  - name: c\n{inner}\n"


def test_a_contract_gives_the_schema_and_what_belongs_to_it(tmp_path):
    contract = load(tmp_path, ORDERS)

    assert (contract.id, contract.name, contract.version) == ("orders", "Orders", "1.0.0")
    assert contract.path == tmp_path / "orders.odcs.yaml"
    assert contract.schema.equals(
        pa.schema(
            [
                pa.field("region", pa.string(), nullable=False),
                pa.field("id", pa.int64(), nullable=False, metadata={"doc": "Which order"}),
                pa.field("amount", pa.decimal128(15, 2), nullable=False),
                pa.field("created_on", pa.date32()),
            ]
        ),
        check_metadata=True,
    )
    assert contract.primary_key == ("id", "region")
    assert contract.partition_by == ("created_on", "region")


PHYSICAL = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "INTEGER": pa.int32(),
    "bigint": pa.int64(),
    "int8": pa.int64(),
    "bigint unsigned": pa.uint64(),
    "ubigint": pa.uint64(),
    "decimal(15,2)": pa.decimal128(15, 2),
    "DECIMAL ( 38 , 38 )": pa.decimal128(38, 38),
    "numeric(10)": pa.decimal128(10, 0),
    "number(10, 2)": pa.decimal128(10, 2),
    "double": pa.float64(),
    "double precision": pa.float64(),
    "float": pa.float32(),
    "real": pa.float32(),
    "varchar(255)": pa.string(),
    "character varying(3)": pa.string(),
    "nvarchar(max)": pa.string(),
    "char(3)": pa.string(),
    "text": pa.string(),
    "uuid": pa.uuid(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp(3)": pa.timestamp("us"),
    "timestamp(9)": pa.timestamp("ns"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp_ntz": pa.timestamp("us"),
    "datetime": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "timestamp(9) with time zone": pa.timestamp("ns", "UTC"),
    "time": pa.time64("us"),
    "time(9)": pa.time64("ns"),
    "binary": pa.binary(),
    "binary(16)": pa.binary(16),
    "varbinary(16)": pa.binary(),
    "bytea": pa.binary(),
    "boolean": pa.bool_(),
    "json": pa.string(),
    "array<int>": pa.list_(pa.int32()),
    "text[]": pa.list_(pa.string()),
    "map<string, decimal(5,2)>": pa.map_(pa.string(), pa.decimal128(5, 2)),
    "struct<a: int, b: array<struct<Q: date>>>": pa.struct(
        [("a", pa.int32()), ("b", pa.list_(pa.struct([("Q", pa.date32())])))]
    ),
    "row(a bigint, b varchar(3))": pa.struct([("a", pa.int64()), ("b", pa.string())]),
}


@pytest.mark.parametrize(("written", "expected"), PHYSICAL.items(), ids=list(PHYSICAL))
def test_a_physical_type_stands_for_an_arrow_type(tmp_path, written, expected):
    contract = load(tmp_path, with_property(f"physicalType: {written!r}"))

    assert contract.schema.field("c").type == expected


LOGICAL = {
    "logicalType: string": pa.string(),
    "logicalType: string\nlogicalTypeOptions: {format: binary}": pa.binary(),
    "logicalType: string\nlogicalTypeOptions: {format: email, maxLength: 5}": pa.string(),
    "logicalType: integer": pa.int64(),
    "logicalType: integer\nlogicalTypeOptions: {format: i8}": pa.int8(),
    "logicalType: integer\nlogicalTypeOptions: {format: i32}": pa.int32(),
    "logicalType: integer\nlogicalTypeOptions: {format: u64}": pa.uint64(),
    "logicalType: integer\nphysicalType: numeric(20, 0)": pa.decimal128(20, 0),
    "logicalType: number": pa.float64(),
    "logicalType: number\nlogicalTypeOptions: {format: f32}": pa.float32(),
    "logicalType: number\nphysicalType: decimal(5,2)": pa.decimal128(5, 2),
    "logicalType: boolean": pa.bool_(),
    "logicalType: date\nlogicalTypeOptions: {format: yyyy-MM-dd}": pa.date32(),
    "logicalType: time": pa.time64("us"),
    "logicalType: timestamp": pa.timestamp("us", "UTC"),
    "logicalType: timestamp\nlogicalTypeOptions: {timezone: false}": pa.timestamp("us"),
    "logicalType: timestamp\nlogicalTypeOptions: {timezone: true, defaultTimezone: Etc/UTC}": pa.timestamp("us", "UTC"),
    "logicalType: timestamp\nphysicalType: timestamp\nlogicalTypeOptions: {timezone: true}": pa.timestamp("us", "UTC"),
    "logicalType: array\nitems: {logicalType: integer}": pa.list_(pa.int64()),
    "logicalType: array\nphysicalType: text[]": pa.list_(pa.string()),
    "logicalType: object": pa.string(),
    "logicalType: object\nphysicalType: jsonb": pa.string(),
    "logicalType: object\nproperties: [{name: a, logicalType: integer, required: true}]": pa.struct(
        [pa.field("a", pa.int64(), nullable=False)]
    ),
    "logicalType: map\nmap: {key: {logicalType: string}, value: {logicalType: integer}}": pa.map_(
        pa.string(), pa.int64()
    ),
}


@pytest.mark.parametrize(("written", "expected"), LOGICAL.items(), ids=[key.replace("\n", " ") for key in LOGICAL])
def test_a_logical_type_and_its_options_stand_for_an_arrow_type(tmp_path, written, expected):
    contract = load(tmp_path, with_property(written))

    assert contract.schema.field("c").type == expected


@pytest.mark.parametrize("written", ["physicalType: jsonb", "logicalType: object"])
def test_a_json_column_says_so(tmp_path, written):
    field = load(tmp_path, with_property(written)).schema.field("c")

    assert field.metadata == {b"dativo.logical_type": b"json"}


BAD_TYPES = {
    "physicalType: money": "10:19 schema[0].properties[0].physicalType: physicalType 'money': has as many digits",
    "physicalType: interval": "10:19 schema[0].properties[0].physicalType: physicalType 'interval': has no counterpart",
    "physicalType: timetz": "10:19 schema[0].properties[0].physicalType: physicalType 'timetz': a time of day with",
    "physicalType: decimal": "10:19 schema[0].properties[0].physicalType: physicalType 'decimal' does not say how many",
    "physicalType: 'decimal(39,2)'": "physicalType 'decimal(39,2)': decimals have 1 to 38 digits",
    "physicalType: 'decimal(5,6)'": "physicalType 'decimal(5,6)': decimals have 1 to 38 digits",
    "physicalType: 'decimal(5,-2)'": "expected decimal(precision, scale)",
    "physicalType: 'timestamp(12)'": "a second has 0 to 9 digits",
    "physicalType: bigintt": "unknown physicalType 'bigintt', did you mean bigint?",
    "physicalType: geometry(4326)": "unknown physicalType 'geometry(4326)'",
    "physicalType: 'array<>'": "expected array<type>",
    "physicalType: 'map<int>'": "expected array<type>",
    "logicalType: strin": "10:18 schema[0].properties[0].logicalType: unknown logicalType 'strin', did you mean st",
    "logicalType: vector": "unknown logicalType 'vector'",
    "logicalType: integer\nphysicalType: varchar(3)": "11:19 schema[0].properties[0].physicalType: physicalType",
    "logicalType: integer\nlogicalTypeOptions: {format: i128}": "integer format 'i128'",
    "logicalType: array": "10:18 schema[0].properties[0].logicalType: an array needs items",
    "logicalType: date\nlogicalTypeOptions: {format: dd/MM/yyyy}": "11:34 schema[0].properties[0].logicalTypeOptions",
    "logicalType: timestamp\nlogicalTypeOptions: {defaultTimezone: Europe/Berlin}": "'Europe/Berlin': a timestamp",
    "physicalType: timestamptz\nlogicalTypeOptions: {timezone: false}": "has a time zone and",
    "logicalType: timestamp\nlogicalTypeOptions: {timezone: no}": "timezone: 'no', expected true or false",
    "description: no type": "9:5 schema[0].properties[0]: c has no type",
}


@pytest.mark.parametrize(("written", "said"), BAD_TYPES.items(), ids=[key.replace("\n", " ") for key in BAD_TYPES])
def test_a_type_that_no_target_holds_is_refused_where_it_stands(tmp_path, written, said):
    message = error_of(tmp_path, with_property(written))

    assert message.startswith("orders.odcs.yaml:")
    assert said in message


BAD_DOCUMENTS = {
    "an unknown key": (
        ORDERS.replace("    required: true", "    requird: true"),
        "orders.odcs.yaml:23:5 schema[0].properties[2].requird: unknown key, did you mean required",
    ),
    "an unknown key at the top": (
        ORDERS + "dativo: 1\n",
        "orders.odcs.yaml:28:1 dativo: unknown key, own keys belong into customProperties",
    ),
    "a value of another type": (
        ORDERS.replace("    required: true", "    required: [1]"),
        "orders.odcs.yaml:23:15 schema[0].properties[2].required: Input should be a valid boolean",
    ),
    "a key twice": (
        ORDERS.replace("    required: true", "    required: true\n    required: false"),
        "orders.odcs.yaml:24:5 schema[0].properties[2].required: the key is given twice, first at 23:5",
    ),
    "a missing id": (
        ORDERS.replace("id: orders\n", "", 1),
        "orders.odcs.yaml:1:1 required key id is missing or no text",
    ),
    "a version that is a number": (
        ORDERS.replace("version: 1.0.0", "version: 1.0"),
        "orders.odcs.yaml:4:10 version: required key version is missing or no text",
    ),
    "an older standard": (
        ORDERS.replace("v3.1.0", "v2.2.2"),
        "orders.odcs.yaml:1:13 apiVersion: v2.2.2 is not supported; Dativo reads ODCS v3.0 to v3.2",
    ),
    "another kind": (
        ORDERS.replace("DataContract", "DataProduct"),
        "orders.odcs.yaml:2:7 kind: 'DataProduct', expected DataContract",
    ),
    "no schema": (HEAD, "orders.odcs.yaml:1:1 no schema"),
    "no properties": (HEAD + "schema:\n- name: orders\n", "orders.odcs.yaml:7:3 schema[0]: no properties"),
    "a column twice": (
        ORDERS.replace("- name: amount", "- name: id"),
        "orders.odcs.yaml:21:11 schema[0].properties[2].name: column id is there already",
    ),
    "no YAML": (HEAD + "schema: [\n", "orders.odcs.yaml:7:1 not YAML: "),
    "a list": ("- 1\n", "orders.odcs.yaml:1:1 the top level must be keys and values"),
    "nothing": ("", "orders.odcs.yaml:1:1 the file is empty"),
    "an alias to itself": (HEAD + "customProperties: &a [*a]\n", "the alias *a stands inside its own anchor"),
    "brackets without end": ("[" * 100_000, "nested more than 64 deep"),
}


@pytest.mark.parametrize(("text", "said"), BAD_DOCUMENTS.values(), ids=list(BAD_DOCUMENTS))
def test_what_is_no_contract_is_refused_with_file_line_and_column(tmp_path, text, said):
    assert said in error_of(tmp_path, text)


def test_a_missing_file_is_a_missing_configuration(tmp_path):
    with pytest.raises(MissingConfigError, match="there is no such contract"):
        load_contract(tmp_path / "none.odcs.yaml", stream="s", table="t")


def test_bytes_that_are_no_text_are_no_contract(tmp_path):
    path = tmp_path / "x.odcs.yaml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SchemaValidationError, match="not UTF-8"):
        load_contract(path, stream="s", table="t")


TWO = (
    HEAD
    + """\
schema:
- name: customers
  properties: [{name: a, logicalType: string}]
- name: sales
  physicalName: orders
  properties: [{name: b, logicalType: string}]
"""
)


@pytest.mark.parametrize(
    ("stream", "table", "column"),
    [
        pytest.param("customers", "x", "a", id="the stream's name"),
        pytest.param("public.customers", "x", "a", id="the last part of the stream's name"),
        pytest.param("x", "orders", "b", id="the table's name, as a physical name"),
    ],
)
def test_the_schema_object_of_the_stream_or_table_is_taken(tmp_path, stream, table, column):
    assert load(tmp_path, TWO, stream=stream, table=table).schema.names == [column]


def test_a_single_schema_object_is_taken_whatever_its_name(tmp_path):
    assert load(tmp_path, ORDERS, stream="x", table="y").schema.names[1] == "id"


def test_of_several_schema_objects_none_is_guessed(tmp_path):
    with pytest.raises(SchemaValidationError) as caught:
        load(tmp_path, TWO, stream="x", table="y")

    assert "no schema object is called y (stream x); there are: customers, sales" in str(caught.value)


def test_a_required_part_of_a_list_or_struct_is_not_null(tmp_path):
    written = "logicalType: array\nrequired: true\nitems: {logicalType: string, required: true, description: A tag}"

    field = load(tmp_path, with_property(written)).schema.field("c")

    assert not field.nullable
    assert field.type.value_field == pa.field("item", pa.string(), nullable=False)
    assert field.type.value_field.metadata == {b"doc": b"A tag"}


@pytest.mark.parametrize(("written", "nullable"), [("no", True), ("'false'", True), ("yes", False), ("true", False)])
def test_required_in_any_spelling_means_what_it_says(tmp_path, written, nullable):
    field = load(tmp_path, with_property(f"logicalType: string\nrequired: {written}")).schema.field("c")

    assert field.nullable is nullable


def test_dates_that_yaml_would_make_of_text_stay_text(tmp_path):
    text = ORDERS + "contractCreatedTs: 2024-01-01T00:00:00Z\n"

    assert load(tmp_path, text).id == "orders"
