"""Messages between processes: which are ours, how they are kept in Redis, how they are taken."""
