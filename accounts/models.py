"""None: people are Django's users, their second factors and sessions are rows of allauth.

Django announces the migration only of apps that have this module, and accounts.groups waits for it. The migrations here
put indexes on Django's table of users.
"""
