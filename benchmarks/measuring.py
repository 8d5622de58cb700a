"""One load on one server: send it, watch the server's memory, and count what PostgreSQL holds afterwards."""

from dataclasses import dataclass, replace

from benchmarks.load import Load, run_load, run_loads
from benchmarks.options import Options
from benchmarks.samples import Sample
from benchmarks.servers import WebServer
from benchmarks.streams import STATUSES, Outcome
from benchmarks.targets import Target
from benchmarks.wrk import run_wrk, wrk_can


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A target and its running server."""

    target: Target
    server: WebServer

    def refusal(self, load: Load) -> str:
        """Send one request of the load: why the load makes no sense, or nothing."""
        one = replace(load, clients=1, seconds=0.0, requests_each=1, repeat=1, rate=0.0)
        statuses = run_load(one, port=self.server.port, processes=1).statuses
        if set(statuses) <= STATUSES[Outcome.ACCEPTED] | STATUSES[Outcome.REJECTED] and statuses:
            return ""
        told = ", ".join(map(str, statuses)) or "no answer"
        return f"not measured: POST {load.stream.path} gave {told}"

    def measure(self, load: Load, options: Options) -> Sample:
        """The sample of the load, with what was found."""
        self.target.empty()
        with self.server.memory_watched() as peak:
            if options.generator != "python" and wrk_can(load):
                sample = run_wrk(load, port=self.server.port)
            else:
                sample = run_load(load, port=self.server.port, processes=options.processes)
        sample.peak_mebibytes = peak.mebibytes
        sample.found = self.target.settled_count()
        return sample

    def measure_beside(self, load: Load, other: Load | None) -> Sample:
        """The sample of the load while `other` runs, when there is one; `found` is without the events of `other`."""
        self.target.empty()
        with self.server.memory_watched() as peak:
            sample, *others = run_loads([load, other] if other else [load], port=self.server.port)
        sample.peak_mebibytes = peak.mebibytes
        sample.found = self.target.settled_count() - sum(each.accepted for each in others)
        sample.unexpected += sum(each.unexpected for each in others)
        sample.failures += sum(each.failures for each in others)
        sample.unread += sum(each.unread for each in others)
        return sample
