"""The data of stored events: text, or in rows of the version before jsonb, which shows numbers in its own way. Pure."""

from ingestion.formats.stored_numbers import with_exponents

# Whether programs of the version before may still run beside this one (`manage.py store_data`, docs/adr/0020).
OLDER_CODE_MAY_RUN = "EXISTS (SELECT FROM ingestion_alsoasjsonb)"
# For data_of(), of the event that a statement calls `event`.
COLUMNS = "event.data_text, CASE WHEN event.data_text IS NULL THEN event.data::text END"
# Of any event, in conditions: what PostgreSQL can look into, and how many bytes the text has.
AS_JSONB = "coalesce(ingestion_jsonb(data_text), data)"
OCTETS = "octet_length(coalesce(data_text, data::text))"


def data_of(text: str | None, jsonb: str | None) -> str | None:
    """The JSON text of the data, from the COLUMNS; None when there is no event."""
    return text if jsonb is None else with_exponents(jsonb)
