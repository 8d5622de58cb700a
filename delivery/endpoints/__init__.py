"""What a subscription says of its endpoint besides the URL: headers, which may be secrets."""
