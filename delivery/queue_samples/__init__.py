"""How much waits for each endpoint, and for how long, over time: what charts are drawn from."""
