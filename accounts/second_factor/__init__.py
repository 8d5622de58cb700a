"""The second factor: whether somebody has one, its forms, how allauth fits in."""
