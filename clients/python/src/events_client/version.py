"""The version of the distribution `events-platform-client`, also sent as `User-Agent`."""

VERSION = "0.1.0"
