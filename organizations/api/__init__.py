"""The endpoints of an organization: itself, and its API keys."""
