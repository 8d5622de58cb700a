"""PostgreSQL as every process uses it: Django's backend, connections with a deadline, whose fault a failure is.

`ENGINE` in the settings names this package.
"""
