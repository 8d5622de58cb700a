"""What the link of an invitation leads to."""
