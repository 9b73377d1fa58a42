"""Load on an endpoint, from a process of its own.

`peak` is wrk (Debian: ``apt-get install wrk``): as many requests as come back, over connections that stay open.
`steady` sends at moments that are fixed beforehand, whatever comes back, so that a slow answer does not spare the
service the requests that would have come meanwhile; an answer's time counts from when its request was due.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

_SCRIPT = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local requests, at = {}, 0
init = function()
  math.randomseed(1)
  local json = {["content-type"] = "application/json"}
  for n, body in ipairs(bodies) do requests[n] = wrk.format("POST", nil, json, body) end
end
request = function() at = at %% #requests + 1 return requests[at] end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def peak(url: str, bodies: Sequence[str], *, seconds: float, connections: int) -> dict[str, float]:
    """Requests a second and milliseconds of an endpoint that is never left idle.

    Args:
        url: of the endpoint.
        bodies: JSON bodies, sent in turn.
        seconds: how long.
        connections: how many requests are under way at any time.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed, and the load comes from it; run: apt-get install wrk.")
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        lines.write_text("\n".join(bodies) + "\n", encoding="utf-8")
        script.write_text(_SCRIPT % lines, encoding="utf-8")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        command += ["-s", str(script), url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if found is None:
        sys.exit(f"wrk did not say what it measured:\n{output}")
    requests, microseconds, broken, refused, *percentiles = (int(word) for word in found[1].split())
    return {
        "requests_per_second": round(requests / microseconds * 1e6, 1),
        "broken": broken,
        "refused": refused,
        **{f"p{name}_ms": value / 1000 for name, value in zip((50, 95, 99), percentiles, strict=True)},
    }


def steady(url: str, bodies: Sequence[str], *, seconds: float, rate: float, connections: int) -> dict[str, float]:
    """Milliseconds at `rate` requests a second, which are due at random moments (a Poisson process)."""
    task = {"url": url, "bodies": list(bodies), "seconds": seconds, "rate": rate, "connections": connections}
    command = [sys.executable, "-m", "benchmarks.serving.load"]
    output = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=True).stdout
    return json.loads(output)


class _Connection(asyncio.Protocol):
    """One connection that stays open; one request at a time is under way on it."""

    def __init__(self, free: "deque[_Connection]", done: "list[tuple[float, int]]", waiting: "deque[_Due]") -> None:
        self._free, self._done, self._waiting = free, done, waiting
        self._buffer, self._due = bytearray(), 0.0
        self._transport: Any = None
        self._now = asyncio.get_running_loop().time

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._free.append(self)

    def send(self, due: float, request: bytes) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = re.search(rb"content-length: *(\d+)", self._buffer[:head].lower())
        if length is None or len(self._buffer) < head + 4 + int(length[1]):
            return
        self._done.append((self._now() - self._due, int(self._buffer[9:12])))
        self._buffer.clear()
        if self._waiting:
            self.send(*self._waiting.popleft())
        else:
            self._free.append(self)


_Due = tuple[float, bytes]


async def _steady(task: dict[str, Any]) -> dict[str, float]:
    parts, loop = urlsplit(task["url"]), asyncio.get_running_loop()
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    requests = [f"{head}content-length: {len(body.encode())}\r\n\r\n{body}".encode() for body in task["bodies"]]
    free, waiting = deque[_Connection](), deque[_Due]()
    done: list[tuple[float, int]] = []
    for _ in range(task["connections"]):
        await loop.create_connection(lambda: _Connection(free, done, waiting), parts.hostname, parts.port)
    gaps = np.random.default_rng(0).exponential(1 / task["rate"], round(task["rate"] * task["seconds"]))
    moments = (loop.time() + 0.1 + np.cumsum(gaps)).tolist()
    for number, due in enumerate(moments):
        pause = due - loop.time()
        if pause > 0.0005:
            await asyncio.sleep(pause)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        request = requests[number % len(requests)]
        if free:
            free.popleft().send(due, request)
        else:
            waiting.append((due, request))
    for _ in range(1000):
        if len(done) == len(moments):
            break
        await asyncio.sleep(0.01)
    taken = np.array([seconds for seconds, _ in done]) * 1000
    return {
        "requests_per_second": round(len(moments) / task["seconds"], 1),
        "broken": len(moments) - len(done),
        "refused": sum(status >= 400 for _, status in done),
        **{f"p{name:g}_ms": round(float(np.percentile(taken, name)), 3) for name in (50, 95, 99, 99.9)},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_steady(json.load(sys.stdin)))))
