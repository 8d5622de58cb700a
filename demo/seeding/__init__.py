"""A made-up month of the platform's life, written by COPY: what `manage.py seed` does."""
