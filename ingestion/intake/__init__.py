"""The intake: from a request's bytes to committed events, the same for both doors (docs/intake.md)."""
