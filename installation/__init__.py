"""An installation as a whole, for who runs it: health, doctor, backup, its place on a host."""
