"""The private parts of pyiceberg that the target stands on: a release that changes one fails here, and says which.

When a test here fails after an update of pyiceberg, read the changed code, adapt `dativo_ingest.targets.iceberg`, and
only then write the new signature down here.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from packaging.version import Version
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.io.pyarrow import (
    PyArrowFileIO,
    _get_column_projection_values,
    _read_deletes,
    _task_to_record_batches,
    _to_requested_schema,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import ManifestWriter, ManifestWriterV2
from pyiceberg.table import CreateTableTransaction, StagedTable, Transaction
from pyiceberg.table.delete_file_index import DeleteFileIndex
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.table.update.snapshot import (
    _FastAppendFiles,
    _ManifestMergeManager,
    _MergeAppendFiles,
    _SnapshotProducer,
)

SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (
        _SnapshotProducer.__init__,
        "self, operation, transaction, io, commit_uuid=None, snapshot_properties={}, branch='main'",
    ),
    (_SnapshotProducer._validate_concurrency, "self"),
    (_FastAppendFiles._validate_concurrency, "self"),
    (
        _MergeAppendFiles.__init__,
        "self, operation, transaction, io, branch='main', commit_uuid=None, snapshot_properties={}",
    ),
    (_SnapshotProducer._refresh_for_retry, "self"),
    (_SnapshotProducer._build_delete_files_partition_predicate, "self"),
    (_SnapshotProducer._existing_manifests, "self"),
    (_SnapshotProducer._deleted_entries, "self"),
    (_SnapshotProducer._clean_all_uncommitted, "self"),
    (_SnapshotProducer._commit, "self"),
    (_SnapshotProducer.append_data_file, "self, data_file"),
    (_SnapshotProducer._process_manifests, "self, manifests"),
    (_SnapshotProducer._summary, "self, snapshot_properties={}"),
    (_SnapshotProducer.new_manifest_output, "self"),
    (_SnapshotProducer.new_manifest_writer, "self, spec"),
    (ManifestWriterV2.__init__, "self, spec, schema, output_file, snapshot_id, avro_compression"),
    (ManifestWriter.add_entry, "self, entry"),
    (ManifestWriter.to_manifest_file, "self"),
    (_read_deletes, "io, data_file"),
    (_ManifestMergeManager.__init__, "self, target_size_bytes, min_count_to_merge, merge_enabled, snapshot_producer"),
    (_ManifestMergeManager.merge_manifests, "self, manifests"),
    (DeleteFileIndex.add_delete_file, "self, manifest_entry, partition_key=None"),
    (DeleteFileIndex.for_data_file, "self, seq_num, data_file, partition_key=None"),
    (
        _get_column_projection_values,
        "file, projected_schema, table_schema, partition_spec, file_project_field_ids",
    ),
    (
        _to_requested_schema,
        (
            "requested_schema, file_schema, batch, downcast_ns_timestamp_to_us=False, include_field_ids=False, "
            "projected_missing_fields={}, allow_timestamp_tz_mismatch=False, format_model=None"
        ),
    ),
    (
        _task_to_record_batches,
        (
            "io, task, bound_row_filter, projected_schema, table_schema, projected_field_ids, positional_deletes, "
            "case_sensitive, name_mapping=None, partition_spec=None, format_version=2, "
            "downcast_ns_timestamp_to_us=None, dictionary_columns=()"
        ),
    ),
    (Transaction._stage, "self, updates, requirements=()"),
    (Transaction._rebuild_snapshot_updates, "self"),
    (Transaction._register_snapshot_producer, "self, producer"),
    (CreateTableTransaction.__init__, "self, table"),
    (StagedTable.__init__, "self, identifier, metadata, metadata_location, io, catalog, config={}"),
    (UpdateSchema._commit, "self"),
    (RestCatalog._config_headers, "self, session"),
    (MetastoreCatalog._update_and_stage_table, "self, current_table, table_identifier, requirements, updates"),
    (MetastoreCatalog._write_metadata, "metadata, io, metadata_path"),
    (MetastoreCatalog._resolve_table_location, "self, location, database_name, table_name"),
    (MetastoreCatalog._load_file_io, "self, properties={}, location=None"),
    (MetastoreCatalog._convert_schema_if_needed, "schema, format_version=2"),
    (compute_statistics_plan, "schema, table_properties"),
    (parquet_path_to_id_mapping, "schema"),
    (
        data_file_statistics_from_parquet_metadata,
        "parquet_metadata, stats_columns, parquet_column_mapping",
    ),
    (PyArrowFileIO.parse_location, "location, properties={}"),
]


def parameters(function: Callable[..., Any]) -> str:
    return ", ".join(
        name if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in inspect.signature(function).parameters.items()
    )


@pytest.mark.parametrize(
    ("function", "expected"), [pytest.param(*case, id=case[0].__qualname__) for case in SIGNATURES]
)
def test_a_private_signature_is_as_the_target_uses_it(function: Callable[..., Any], expected: str) -> None:
    found = parameters(function)

    assert found == expected, (
        f"pyiceberg {version('pyiceberg')} changed {function.__module__}.{function.__qualname__}: "
        f"it takes ({found}), dativo_ingest.targets.iceberg calls it with ({expected})"
    )


def source_of(function: Callable[..., Any]) -> str:
    return " ".join(inspect.getsource(function).split())


def test_the_installed_pyiceberg_is_of_the_release_that_was_read() -> None:
    assert Version("0.12") <= Version(version("pyiceberg")) < Version("0.13")


def test_every_new_try_of_a_commit_refreshes_and_asks_the_fence_before_it_builds_a_snapshot() -> None:
    text = source_of(Transaction._rebuild_snapshot_updates)
    commit = source_of(Transaction.commit_transaction)

    order = ["producer._refresh_for_retry()", "producer._validate_concurrency()", "producer._commit()"]
    assert sorted(order, key=text.index) == order
    assert commit.index("self._table.refresh()") < commit.index("self._rebuild_snapshot_updates()")


def test_a_commit_is_only_tried_again_where_it_was_refused() -> None:
    text = source_of(Transaction.commit_transaction)

    assert "except CommitFailedException:" in text
    assert "except (CommitFailedException, ValidationException):" in text
    assert not issubclass(CommitFailedException, ValidationException)


def test_the_first_try_requires_that_the_branch_has_not_moved() -> None:
    assert "AssertRefSnapshotId(" in source_of(_SnapshotProducer._commit)


def test_manifests_are_built_from_the_hooks_that_the_target_overrides() -> None:
    text = source_of(_SnapshotProducer._manifests)

    hooks = (
        "_build_delete_files_partition_predicate()",
        "_deleted_entries()",
        "_existing_manifests",
        "_process_manifests(",
    )
    for hook in hooks:
        assert f"self.{hook}" in text


def test_a_manifest_tells_what_it_is_about_by_its_content_and_its_metadata() -> None:
    assert "content=self.content()" in source_of(ManifestWriter.to_manifest_file)
    assert "metadata=self._meta" in source_of(ManifestWriter.new_writer)
    assert '"content": "data"' in source_of(ManifestWriterV2._meta.fget)


def test_rows_of_a_file_are_read_in_their_order_and_none_is_left_out() -> None:
    text = source_of(_task_to_record_batches)

    assert "fragment_scanner.to_batches()" in text  # in order; `scan_batches` would not be
    assert "filter=pyarrow_filter if not positional_deletes else None" in text


def test_the_creating_transaction_requires_that_the_table_does_not_exist() -> None:
    assert "AssertCreate()" in source_of(CreateTableTransaction.commit_transaction)


@pytest.mark.parametrize(
    "name",
    [
        "_snapshot_id",
        "_parent_snapshot_id",
        "_deleted_data_files",
        "_transaction",
        "_io",
        "_added_data_files",
        "_compression",
        "_written_manifests",
        "_uncommitted_manifests",
    ],
)
def test_producers_keep_what_the_target_reads(name: str) -> None:
    assert name in source_of(_SnapshotProducer) + source_of(_SnapshotProducer.__mro__[1])


def test_transactions_keep_what_the_target_reads() -> None:
    text = source_of(Transaction)

    assert "self._table = table" in text
