"""The operations of the API, one method each, for both clients. tests/clients compares them with `/api/schema`."""
