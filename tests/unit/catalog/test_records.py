import dataclasses

import pytest
from sqlalchemy import Table

from penstock.catalog import records, schema, states

RECORDS = {
    "accounts": records.Account,
    "api_keys": records.ApiKey,
    "uploads": records.Upload,
    "upload_parts": records.UploadPart,
    "workers": records.Worker,
    "tasks": records.Task,
    "tracks": records.TrackRecord,
    "artefacts": records.ArtefactRecord,
    "events": records.Event,
    "idempotency": records.Answer,
    "garbage": records.Garbage,
}


def fields(record: type) -> set[str]:
    """The names of a record's fields."""
    return {field.name for field in dataclasses.fields(record)}


@pytest.mark.parametrize("name", list(RECORDS))
def test_a_record_has_the_columns_of_its_table(name: str) -> None:
    """What a row holds is what the value shows, one for one."""
    table: Table = schema.metadata.tables[name]
    assert fields(RECORDS[name]) == {column.name for column in table.c}


def test_long_columns_are_left_out_of_the_records_that_lists_are_made_of() -> None:
    """A video's searched texts and a generation's documents are fetched only by who wants them."""
    assert fields(records.Video) == {column.name for column in states.video_columns()}
    assert fields(records.Generation) == {column.name for column in states.generation_columns()}
    assert {column.name for column in schema.segments.c} - fields(records.SegmentRecord) == {"generation_id"}


def test_every_table_has_its_record() -> None:
    """A table that is added without a value to show it is noticed."""
    assert set(schema.metadata.tables) == {*RECORDS, "videos", "generations", "segments"}


@pytest.mark.parametrize("name", list(schema.metadata.tables))
def test_names_fit_both_databases(name: str) -> None:
    """PostgreSQL cuts names at 63 bytes; a constraint that was cut could not be dropped by name later."""
    table = schema.metadata.tables[name]
    names = [name, *(column.name for column in table.c), *(str(index.name) for index in table.indexes)]
    assert all(len(each) <= 63 for each in names)
