"""The sign-in page, and what it costs at most."""
