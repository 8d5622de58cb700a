"""Backups of the whole database, and the way back: what `manage.py backup` and `manage.py restore` do."""
