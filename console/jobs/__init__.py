"""Jobs that the console shows: retries of dead letters."""
