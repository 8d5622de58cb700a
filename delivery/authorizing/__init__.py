"""How a sender authorizes itself at an endpoint: with a token that it fetches, or with a certificate."""
