"""What becomes of data over time: kept, exported, sealed anew, and removed for good."""
