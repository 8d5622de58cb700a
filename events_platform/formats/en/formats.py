"""As in logs and the API: what is sorted as text is sorted by time, and seconds matter."""

DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
SHORT_DATE_FORMAT = "Y-m-d"
