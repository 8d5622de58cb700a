"""Lists of events, and the views of them that people keep."""
