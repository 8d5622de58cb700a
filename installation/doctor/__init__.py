"""What operators get wrong, looked at one by one, with what to do about each: `manage.py doctor` and a console page."""
