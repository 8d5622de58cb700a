"""What is known of an attempt: while it is made, as it is stored, and as it is shown."""
