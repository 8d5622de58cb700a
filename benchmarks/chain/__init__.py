"""What the whole chain takes, as `make run` starts it, and what an event costs on its way through it."""
