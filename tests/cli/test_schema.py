import json

import pytest
from command_line import Invoke
from jsonschema import Draft202012Validator

from dativo_ingest.run import documents_schema


@pytest.mark.parametrize("what", ["job", "contract", "report", "plugin", "policy"])
def test_a_schema_is_one_json_document_that_validators_take(invoke: Invoke, what: str) -> None:
    done = invoke("schema", what)

    assert done.exit_code == 0
    assert json.loads(done.stdout)["$schema"].startswith("http")


@pytest.mark.parametrize("name", ["CHECK", "DISCOVER", "REPORT"])
def test_the_documents_schemas_are_valid_themselves(name: str) -> None:
    Draft202012Validator.check_schema(getattr(documents_schema, name))
