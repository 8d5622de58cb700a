"""Room on the disks of this machine."""

import os
import shutil
import tempfile
from pathlib import Path

from django.db import DatabaseError, connection, transaction

from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning
from installation.doctor.places import is_here
from observability.metrics.folder import folder_of_others

PART = "disk"
_LANE = "disk"
_LOW, _VERY_LOW = 0.10, 0.02
_LOW_BYTES = 2**30
# A small one, such as a tmpfs of 64 MiB for /tmp, never has a GiB free.
_SMALL_BYTES = 10 * 2**30


def judge_room(what: str, folder: Path) -> CheckOutcome:
    """How much is free where `folder` lies."""
    usage = shutil.disk_usage(folder)
    part = usage.free / usage.total if usage.total else 1.0
    room = f"{what} ({folder}) has {usage.free / 2**30:.1f} GiB free, {100 * part:.0f} %."
    if part >= _LOW and (usage.free >= _LOW_BYTES or usage.total < _SMALL_BYTES):
        return good(room)
    say = problem if part < _VERY_LOW else warning
    return say(room, f"Free some space, or enlarge the disk: `du -xh {folder} | sort -h | tail` shows what fills it.")


def _temporary(visit: Visit) -> CheckOutcome:
    return judge_room("The temporary folder", Path(tempfile.gettempdir()))


def _metrics(visit: Visit) -> CheckOutcome:
    folder = folder_of_others()
    if folder is None:
        return good("PROMETHEUS_MULTIPROC_DIR is not set: the web server creates a folder of its own.")
    if not folder.is_dir():
        return warning(
            f"The metrics folder, {folder}, does not exist.",
            "The processes create it at the start: check that PROMETHEUS_MULTIPROC_DIR names the same folder for all.",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return problem(
            f"This user may not write to {folder}, the metrics folder.",
            f"Run the platform and this command as its owner, or `chown` it: `ls -ld {folder}`.",
        )
    return judge_room("The metrics folder", folder)


def _postgresql(visit: Visit) -> CheckOutcome:
    if not is_here(connection.settings_dict["HOST"]):
        return skipped("PostgreSQL is on another machine: watch its disk there.")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('data_directory')")
            folder = Path(cursor.fetchone()[0])
    except DatabaseError:
        return skipped("This role may not ask PostgreSQL where its data is; `GRANT pg_read_all_settings` permits it.")
    try:
        return judge_room("PostgreSQL's data folder", folder)
    except OSError:
        # Its parents are closed to us. The nearest that is not may be on another disk, so nothing is said of it.
        return skipped(f"PostgreSQL's data folder, {folder}, cannot be seen from here.")


CHECKS = (
    Check(part=PART, name="disk_temporary", run=_temporary, lane=_LANE),
    Check(part=PART, name="disk_metrics", run=_metrics, lane=_LANE),
    Check(part=PART, name="disk_postgresql", run=_postgresql, lane=_LANE),
)
