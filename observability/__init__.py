"""What the platform tells of itself: logs, traces, metrics, signs of life."""
