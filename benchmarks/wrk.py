"""wrk as the load generator: it costs a fraction of what a Python one does, and repeats one kind of request.

Requests that are in flight when wrk ends may be committed although their answers were never counted.
"""

import json
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load import Load
from benchmarks.samples import Sample
from benchmarks.servers import HOST
from benchmarks.streams import SINGLE_PATH, Kind, event_body, request_head

_SERIAL = "@@@@@@@@"
_SCRIPT = """
local sent = 0
function request()
  sent = sent + 1
  local serial = string.format("%%08d", sent)
  return %s
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"microseconds": %%d, "requests": %%d, "refused": %%d, "failures": %%d, "p50": %%d, "p95": %%d, "p99": %%d}\\n',
    summary.duration, summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""
# wrk's own timeout for one answer; the default of 2 s would count slow answers as errors.
_TIMEOUT = "60s"


def wrk_can(load: Load) -> bool:
    """Is wrk installed, and is the load one that it can make: one tenant, one kind of event, as fast as it goes?"""
    simple = load.stream.kind in {Kind.PLAIN, Kind.KEYED} and len(load.stream.api_keys) == 1
    return simple and bool(load.seconds) and not load.rate and shutil.which("wrk") is not None


def run_wrk(load: Load, *, port: int) -> Sample:
    """Send the load to the server on `port` with one thread of wrk."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "requests.lua")
        script.write_text(_script(load))
        before = _cpu_seconds()
        done = subprocess.run(
            ["wrk", *_options(load), "--script", str(script), f"http://{HOST}:{port}{SINGLE_PATH}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return _sample(json.loads(done.stdout.strip().splitlines()[-1]), load, _cpu_seconds() - before)


def _options(load: Load) -> list[str]:
    duration = max(1, round(load.seconds))
    return ["--threads", "1", "--connections", str(load.clients), "--duration", f"{duration}s", "--timeout", _TIMEOUT]


def _script(load: Load) -> str:
    keyed = load.stream.kind is Kind.KEYED
    body = event_body(f"{load.stream.tag}-wrk-{_SERIAL}", keyed=keyed)
    head = request_head(SINGLE_PATH, load.stream.api_keys[0])
    parts = f"{head}{len(body)}\r\n\r\n{body}".split(_SERIAL)
    # A JSON string of ASCII without a slash escape is a Lua string, too.
    constants = "".join(f"local part{index} = {json.dumps(part)}\n" for index, part in enumerate(parts))
    return constants + _SCRIPT % " .. serial .. ".join(f"part{index}" for index in range(len(parts)))


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _sample(told: dict[str, Any], load: Load, cpu_seconds: float) -> Sample:
    seconds = told["microseconds"] / 1e6
    answered = told["requests"] - told["refused"]
    return Sample(
        seconds=seconds,
        accepted=answered,
        statuses={202: answered, **({0: told["refused"]} if told["refused"] else {})},
        unexpected=told["refused"],
        failures=told["failures"],
        unread=load.clients + told["failures"],
        p50=told["p50"] / 1000,
        p95=told["p95"] / 1000,
        p99=told["p99"] / 1000,
        generator="wrk",
        generator_cpu=cpu_seconds / seconds,
    )
