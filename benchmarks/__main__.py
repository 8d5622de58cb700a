"""`python -m benchmarks`: run the benchmarks, print their tables, write JSON, Markdown and SVG."""

import signal
import sys
from collections.abc import Callable, Sequence

from benchmarks.chain.running import run_chain
from benchmarks.clients import run_clients
from benchmarks.console import run_console
from benchmarks.delivery import run_delivery
from benchmarks.hostile.running import run_hostile
from benchmarks.intake import run_intake
from benchmarks.options import Options, read_options
from benchmarks.pipeline import run_pipeline
from benchmarks.progress import Progress
from benchmarks.report import Told
from benchmarks.retention import run_retention
from benchmarks.soak import run_soak
from installation.local.errors import UpError

BENCHMARKS: dict[str, Callable[[Options, Progress], Told]] = {
    "intake": run_intake,
    "pipeline": run_pipeline,
    "delivery": run_delivery,
    "chain": run_chain,
    "console": run_console,
    "retention": run_retention,
    "hostile": run_hostile,
    "clients": run_clients,
    "soak": run_soak,
}
# An hour long: run only when it is named.
_ON_DEMAND = {"soak"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 when a promise was not kept or a server failed; 130 after Ctrl-C."""
    options = read_options(arguments, names=BENCHMARKS)
    # What ends us must also end the servers: their context managers run on an exception only.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        wanted = [options.only] if options.only else [name for name in BENCHMARKS if name not in _ON_DEMAND]
        reports = [BENCHMARKS[name](options, progress) for name in wanted]
    except UpError as error:
        progress.say(str(error))
        return 1
    except KeyboardInterrupt:
        progress.say("Stopped.")
        return 130
    for report in reports:
        print(f"\n## {report.title}\n\n{report.facts_line()}\n\n{report.markdown()}")
        progress.say(f"\nWritten: {', '.join(map(str, report.write(options.output)))}")
    return 0 if all(report.accounts_hold for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
