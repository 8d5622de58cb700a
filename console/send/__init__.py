"""An event that a person sends from here."""
