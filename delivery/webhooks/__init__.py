"""How a delivery gets to its endpoint: claimed, signed, sent, guarded, recorded."""
