"""`manage.py up`, some of whose programs have clocks of their own: `python -m tests.faults.up`.

CLOCKS_OF names them, CLOCKS libfaketime. The clock of one is as far off as the file `clock-of-<name>` in the data
folder says.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from events_platform.up import programs
from events_platform.up.child import Program
from events_platform.up.supervisor import main
from installation.local.data_dir import DataDir


def with_own_clock(make: Callable[..., Program], library: str) -> Callable[..., Program]:
    def program(*arguments: Any) -> Program:
        made = make(*arguments)
        clock = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(DataDir.from_environment(os.environ).root / f"clock-of-{made.name}"),
            # What measures durations goes on as ever, as it does when a machine's clock is set.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The file is read once a second: reading it at every look at the clock takes half of a core.
            "FAKETIME_CACHE_DURATION": "1",
            # The times of files are those of the file system. What waits by the steady clock needs no correction, and
            # gets one that makes threads wait for seconds where many of them do.
            "NO_FAKE_STAT": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "PYTHONPATH": str(Path(__file__).parent / "clock"),
        }
        return replace(made, environment={**made.environment, **clock})

    return program


if __name__ == "__main__":
    for name in os.environ.get("CLOCKS_OF", "").split():
        setattr(programs, name, with_own_clock(getattr(programs, name), os.environ["CLOCKS"]))
    sys.exit(main(sys.argv[1:]))
