"""What a person is mailed, and when."""
