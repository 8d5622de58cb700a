"""What is wrong with an endpoint: its failures, grouped by their error, until it delivers again."""
