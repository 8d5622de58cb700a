"""How attempts ended and how long they took, by endpoint and time: what charts are drawn from."""
