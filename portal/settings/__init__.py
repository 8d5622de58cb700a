"""How an organization's portal looks, and who may embed it."""
