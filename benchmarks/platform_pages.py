"""Asks for every page: reads `{"databases": [few, many], "requests", "warm_up", "rows"}`, prints rows as JSON.

Runs in a process of its own under the platform's settings, which goes from one database to the other.
"""

import json
import sys

import django


def main() -> None:
    django.setup()
    from benchmarks.console_measuring import measure_pages  # noqa: PLC0415 - the app registry must be ready
    from events_platform.server import SWITCH_SECONDS  # noqa: PLC0415 - likewise

    # As in a web process, to whose event loop the pages' threads give way.
    sys.setswitchinterval(SWITCH_SECONDS)
    print(json.dumps(measure_pages(**json.load(sys.stdin))))


if __name__ == "__main__":
    main()
