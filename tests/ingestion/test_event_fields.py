"""The table of an event's fields agrees with what declares them by type."""

from django.db import connection

from console.exports.files import COLUMNS as EXPORTED
from ingestion.api.schemas import EventFields
from ingestion.fields import CONTENT_NAMES, FIELDS, MatchedFields
from ingestion.formats.decoding import DecodedEvent, EventBody
from ingestion.models import Event

NAMES = {field.name for field in FIELDS}


def test_each_field_is_sent_decoded_shown_and_stored() -> None:
    assert set(EventBody.__struct_fields__) == {*NAMES, "data", "deliver_at", "delay_seconds"}
    assert set(DecodedEvent.__struct_fields__) == {*NAMES, "data", "annotations", "rounded", "due"}
    assert [name for name in EventFields.__struct_fields__ if name in NAMES] == [field.name for field in FIELDS]
    columns = {column.name: column for column in Event._meta.concrete_fields}
    types = {"text": "varchar", "timestamptz": "timestamp with time zone"}
    for field in FIELDS:
        stored_as = columns[field.name].db_type(connection)
        assert stored_as is not None
        assert stored_as.partition("(")[0] == types[field.sql_type]
        assert columns[field.name].null == (field.name != "type")


def test_each_field_is_exported_and_what_filters_see_is_one() -> None:
    assert set(EXPORTED) > NAMES
    assert set(MatchedFields.__struct_fields__) < set(CONTENT_NAMES)
