"""The command `evp`."""
