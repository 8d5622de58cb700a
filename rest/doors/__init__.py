"""What stands between a socket and a view: connections, bodies, bounds, threads."""
