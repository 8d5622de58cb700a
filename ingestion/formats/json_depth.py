"""How deep the data of events may be nested: for the intake, and for the process that checks schemas. Pure."""

MAX_DEPTH = 64
