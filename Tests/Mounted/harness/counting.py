"""The relay of scripts/relay: a server as far away as one likes, whose requests are counted."""

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


class CountingRelay:
    """Delays every answer, and counts requests by verb."""

    def __init__(self, control, endpoint):
        self._control, self.endpoint = control, endpoint

    def reset(self):
        self._ask("reset")

    def counts(self):
        """Requests by verb since the last reset, those that there were, and their total."""
        requests = self._ask("counters")["requests"]
        return {verb: count for verb, count in requests.items() if count}

    def _ask(self, what):
        # No proxy of the environment is meant for this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._control}/{what}", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def counting_relay(upstream, latency_ms=30, rate_mb=90):
    """Yields a `CountingRelay` to a server on this machine."""
    program = REPOSITORY / ".build" / "tools" / "relay"
    subprocess.run([REPOSITORY / "scripts" / "build-tools"], check=True, stdout=subprocess.DEVNULL)
    port = urllib.parse.urlsplit(upstream).port
    with subprocess.Popen([program, "--target", str(port), "--latency-ms", str(latency_ms), "--rate-mb", str(rate_mb)],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            ports = dict(word.split("=") for word in process.stdout.readline().split()[1:])
            yield CountingRelay(f"http://127.0.0.1:{ports['control']}", f"http://127.0.0.1:{ports['listen']}")
        finally:
            process.terminate()
