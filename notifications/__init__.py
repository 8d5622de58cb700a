"""What organizations and people are told: notices as events, and mails."""
