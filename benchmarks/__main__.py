"""`python -m benchmarks`: run the benchmarks, print their tables, write JSON, Markdown and SVG."""

import signal
import sys
from collections.abc import Callable, Sequence

from benchmarks.delivery import run_delivery
from benchmarks.intake import run_intake
from benchmarks.options import Options, read_options
from benchmarks.pipeline import run_pipeline
from benchmarks.progress import Progress
from benchmarks.report import facts_line, markdown, write_report
from benchmarks.rows import Report
from events_platform.up.errors import UpError

BENCHMARKS: dict[str, Callable[[Options, Progress], Report]] = {
    "intake": run_intake,
    "pipeline": run_pipeline,
    "delivery": run_delivery,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 when accepted and found differ or a server failed; 130 after Ctrl-C."""
    options = read_options(arguments, names=BENCHMARKS)
    # What ends us must also end the servers: their context managers run on an exception only.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = Progress()
    try:
        reports = [BENCHMARKS[name](options, progress) for name in BENCHMARKS if options.only in {None, name}]
    except UpError as error:
        progress.say(str(error))
        return 1
    except KeyboardInterrupt:
        progress.say("Stopped.")
        return 130
    for report in reports:
        print(f"\n## {report.title}\n\n{facts_line(report)}\n\n{markdown(report)}")
        progress.say(f"\nWritten: {', '.join(map(str, write_report(report, options.output)))}")
    return 0 if all(report.accounts_hold for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
