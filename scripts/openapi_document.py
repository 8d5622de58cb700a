"""The OpenAPI document that the platform serves, without a platform: `python -m scripts.openapi_document FILE`.

Client generators read it; so does `scripts.write_api_page`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def load() -> dict[str, Any]:
    """The document. Nothing connects to anything; the variables are only there to load the application."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
    os.environ.setdefault("DATABASE_URL", "postgresql://events@127.0.0.1:1/events")
    os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
    os.environ.setdefault("SECRET_KEY", "only-to-load-the-application-and-read-its-views")
    import django  # noqa: PLC0415 - after the environment is complete

    django.setup()
    from rest.openapi.document import build_document  # noqa: PLC0415

    return build_document()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(load(), indent=1))
