"""What is wrong with endpoints, grouped."""
