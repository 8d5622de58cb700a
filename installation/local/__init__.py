"""What an installation has on its own machine: a folder, sockets, the user of PostgreSQL."""
