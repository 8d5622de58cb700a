"""JSON Schemas of event types: what they may cost, and who checks events against them."""
