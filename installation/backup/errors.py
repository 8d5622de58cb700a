"""What keeps a backup from being made or restored."""


class BackupError(Exception):
    """Its message is for the operator: what happened, and what to do."""
