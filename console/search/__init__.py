"""One box that finds anything: an id, a key, a subject, a type, a value in data."""
