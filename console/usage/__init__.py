"""Usage against the limits of the plan."""
