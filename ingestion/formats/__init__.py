"""What a body says, in each form in which events may come."""
