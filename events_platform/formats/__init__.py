"""How Django writes times where nobody says otherwise: in the admin. The console has a tag of its own."""
