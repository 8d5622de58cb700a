"""What there is to look at in a platform that nobody uses yet."""
