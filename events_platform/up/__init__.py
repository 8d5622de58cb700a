"""One command that runs the whole platform: `python manage.py up`.

`supervisor` starts and watches everything. `embedded` starts PostgreSQL and Valkey below a data folder, for the
tests too; neither it nor what it imports knows Django, for it must run before there is a database to configure.
"""
