"""What load balancers ask (`/health/live`, `/health/ready`), and what operators watch (`/health/status`)."""
