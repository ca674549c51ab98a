import jsonschema
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings, strategies as st

from dativo_ingest.contracts.from_schema import contract_from_schema
from dativo_ingest.contracts.odcs import load_contract
from dativo_ingest.contracts.schema import contract_schema
from dativo_plugin_sdk import SchemaValidationError

VALIDATOR = jsonschema.Draft201909Validator(contract_schema())
FLAT = [
    *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(1, 0), pa.decimal128(38, 38), pa.string(), pa.binary()),
    *(pa.binary(7), pa.uuid(), pa.date32(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp(unit, "UTC") for unit in ("s", "ms", "us", "ns")),
]
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"'), min_size=1, max_size=8)


@st.composite
def fields(draw, name, types, *, metadata=True):
    kept = {}
    if metadata and draw(st.booleans()):
        kept["doc"] = draw(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20))
    kind = draw(types)
    if kind == pa.string() and draw(st.booleans()):
        kept["dativo.logical_type"] = "json"
    return pa.field(name, kind, nullable=draw(st.booleans()), metadata=kept or None)


def structs(inner, *, metadata=True):
    names = st.lists(NAMES, min_size=1, max_size=3, unique=True)
    return names.flatmap(
        lambda found: st.tuples(*(fields(name, inner, metadata=metadata) for name in found)).map(pa.struct)
    )


def maps(inner):
    """Give maps, whose parts are written as text: they have no descriptions."""
    within = st.recursive(
        st.sampled_from(FLAT),
        lambda more: structs(more, metadata=False) | fields("item", more, metadata=False).map(pa.list_),
        max_leaves=3,
    )
    return st.tuples(st.sampled_from(FLAT), fields("value", within | inner, metadata=False)).map(
        lambda parts: pa.map_(*parts)
    )


TYPES = st.recursive(
    st.sampled_from(FLAT), lambda inner: structs(inner) | fields("item", inner).map(pa.list_), max_leaves=6
)
SCHEMAS = (
    st.lists(NAMES, min_size=1, max_size=5, unique=True)
    .flatmap(lambda names: st.tuples(*(fields(name, TYPES | maps(st.sampled_from(FLAT))) for name in names)))
    .map(pa.schema)
)


@settings(max_examples=40)
@given(SCHEMAS)
def test_a_schema_comes_back_from_its_contract_exactly(tmp_path_factory, schema):
    path = tmp_path_factory.mktemp("contracts") / "t.odcs.yaml"

    text = contract_from_schema(schema, name="public.t")
    path.write_text(text, encoding="utf-8")

    assert load_contract(path, stream="public.t", table="t").schema.equals(schema, check_metadata=True)


@settings(max_examples=10)
@given(SCHEMAS)
def test_every_contract_written_is_valid_by_the_standards_own_schema(schema):
    document = yaml.safe_load(contract_from_schema(schema, name="public.t"))

    VALIDATOR.validate(document)


def test_every_type_is_written_and_read(tmp_path):
    schema = pa.schema([(f"c{index}", kind) for index, kind in enumerate(FLAT)])
    path = tmp_path / "t.odcs.yaml"

    path.write_text(contract_from_schema(schema, name="t"), encoding="utf-8")

    assert load_contract(path, stream="t", table="t").schema.equals(schema, check_metadata=True)


def test_the_document_says_what_it_is():
    text = contract_from_schema(
        pa.schema([pa.field("id", pa.int64()), pa.field("at", pa.timestamp("us", "UTC"), nullable=False)]),
        name="public.orders",
        description="What was ordered",
        primary_key=["id"],
    )

    document = yaml.safe_load(text)
    assert document["apiVersion"] == "v3.1.0"
    assert (document["kind"], document["id"], document["name"]) == ("DataContract", "public-orders", "public.orders")
    assert document["schema"][0]["name"] == "orders"
    assert document["schema"][0]["properties"] == [
        {
            "name": "id",
            "logicalType": "integer",
            "physicalType": "bigint",
            "required": True,
            "primaryKey": True,
            "primaryKeyPosition": 1,
        },
        {"name": "at", "logicalType": "timestamp", "physicalType": "timestamptz", "required": True},
    ]


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        pytest.param(pa.large_string(), pa.string(), id="large text"),
        pytest.param(pa.string_view(), pa.string(), id="a view of text"),
        pytest.param(pa.large_binary(), pa.binary(), id="large bytes"),
        pytest.param(pa.dictionary(pa.int8(), pa.large_string()), pa.string(), id="a dictionary"),
        pytest.param(pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("ms", "UTC"), id="another zone"),
        pytest.param(pa.date64(), pa.date32(), id="dates in milliseconds"),
        pytest.param(pa.decimal64(10, 2), pa.decimal128(10, 2), id="small decimals"),
        pytest.param(pa.decimal256(38, 2), pa.decimal128(38, 2), id="wide decimals"),
        pytest.param(pa.large_list(pa.large_string()), pa.list_(pa.string()), id="large lists"),
        pytest.param(pa.list_(pa.int8(), 3), pa.list_(pa.int8()), id="lists of one length"),
        pytest.param(pa.json_(), pa.string(), id="arrow's json"),
    ],
)
def test_a_layout_that_targets_do_not_have_becomes_the_plain_one(tmp_path, found, kept):
    path = tmp_path / "t.odcs.yaml"

    path.write_text(contract_from_schema(pa.schema([("c", found)]), name="t"), encoding="utf-8")

    field = load_contract(path, stream="t", table="t").schema.field("c")
    assert field.type == kept
    assert field.metadata == ({b"dativo.logical_type": b"json"} if found == pa.json_() else None)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(pa.duration("s"), id="durations"),
        pytest.param(pa.month_day_nano_interval(), id="intervals"),
        pytest.param(pa.null(), id="nulls"),
        pytest.param(pa.decimal256(39, 2), id="39 digits"),
        pytest.param(pa.decimal128(5, -2), id="a negative scale"),
        pytest.param(pa.struct([]), id="a struct without fields"),
        pytest.param(pa.opaque(pa.binary(), "point", "postgres"), id="an opaque type"),
        pytest.param(pa.list_(pa.duration("s")), id="durations in a list"),
        pytest.param(pa.dense_union([pa.field("a", pa.int8())]), id="unions"),
    ],
)
def test_a_type_that_no_target_holds_is_refused_with_its_column(kind):
    with pytest.raises(SchemaValidationError, match="column odd: "):
        contract_from_schema(pa.schema([("odd", kind)]), name="t")


def test_the_json_schema_is_one():
    schema = contract_schema()

    jsonschema.validators.validator_for(schema).check_schema(schema)
    assert "apiVersion" in schema["properties"]
