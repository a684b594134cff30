"""Connections that stall or crawl beside good ones: a pause for the reader, never an error, and few requests more."""

import concurrent.futures
import contextlib
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from harness.content import pattern

REPOSITORY = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server, pytest.mark.deadline(240)]

#: The longest a single read may take, in seconds: 2 s without a byte, or two slow windows of 1 s, then another request
#: on a busy machine. The stall limit of a request that nothing replaces is 20 s.
PAUSE_MAX = 10


class StragglingRelay:
    """scripts/relay/relay in front of the server: 10 ms and 90 MB/s, and stragglers as asked for."""

    def __init__(self, upstream):
        subprocess.run([REPOSITORY / "scripts" / "build-tools"], check=True, timeout=120)
        target = str(urllib.parse.urlsplit(upstream).port)
        self._process = subprocess.Popen(
            [REPOSITORY / ".build" / "tools" / "relay", "--target", target, "--latency-ms", "10", "--rate-mb", "90"],
            stdout=subprocess.PIPE, text=True)
        listen, self._control = re.match(r"relay listen=(\d+) control=(\d+)", self._process.stdout.readline()).groups()
        self.endpoint = f"http://127.0.0.1:{listen}"

    def stragglers(self, stall=0, slow=0):
        """One in so many answers to GETs of objects stalls, or is slow; returns the counters so far."""
        url = f"http://127.0.0.1:{self._control}/stragglers?stall={stall}&slow={slow}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def close(self):
        self._process.terminate()
        self._process.wait(5)


    def counters(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self._control}/counters", timeout=5) as answer:
            return json.load(answer)


@contextlib.contextmanager
def through(mount, *options):
    """Mounts through the relay, and lets pail see what is usual here: sixty small files."""
    with contextlib.closing(StragglingRelay(mount.bucket.server.endpoint)) as relay:
        mount.bucket.put_many({f"usual/{number}": pattern(100_000, number) for number in range(60)})
        mount.endpoint = relay.endpoint
        # What comes from disk does not straggle.
        mount.start("--cache-size", "0", *options)
        for number in range(60):
            assert (mount.path / "usual" / str(number)).read_bytes() == pattern(100_000, number)
        yield relay
        relay.stragglers()
        mount.compare()


def read_by_pieces(path, expected):
    """Reads a file by 1 MB and compares it. Returns the longest time of one read, and that of all."""
    longest, begin = 0.0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        for start in range(0, len(expected), MEGABYTE):
            before = time.monotonic()
            piece = file.read(MEGABYTE)
            while len(piece) < len(expected[start:start + MEGABYTE]):
                more = file.read(MEGABYTE - len(piece))
                assert more, "the file ends early"
                piece += more
            longest = max(longest, time.monotonic() - before)
            assert piece == expected[start:start + MEGABYTE], f"other bytes at {start}"
    return longest, time.monotonic() - begin


@pytest.mark.parametrize("kind", ["stall", "slow"])
def test_a_straggler_costs_a_pause(mount, bucket, kind):
    data = pattern(160 * MEGABYTE)
    bucket.put("large", data)
    with through(mount) as relay:
        # What a good connection carries.
        _, usual = read_by_pieces(mount.path / "large", data)
        mount.remount()
        for number in range(60):
            (mount.path / "usual" / str(number)).read_bytes()
        relay.stragglers(**{kind: 7})
        longest, total = read_by_pieces(mount.path / "large", data)
        counters = relay.stragglers()
        print(f"{kind}: usual {usual:.1f} s, now {total:.1f} s, the longest read {longest:.1f} s, {counters}")
        assert counters["stalled" if kind == "stall" else "slowed"] >= 2, "no answer straggled"
        assert longest < PAUSE_MAX
        gets = mount.status()["requests"]["GetObject"]
        assert gets["errors"] == gets.get("stalled", 0), gets


def test_hedges_are_few(mount, bucket):
    with through(mount) as relay:
        bucket.put_many({f"small/{number}": pattern(4096, number) for number in range(300)})
        relay.stragglers(stall=40)
        longest = 0.0
        for number in range(300):
            before = time.monotonic()
            assert (mount.path / "small" / str(number)).read_bytes() == pattern(4096, number)
            longest = max(longest, time.monotonic() - before)
        counters, requests = relay.stragglers(), mount.status()["requests"]
        print(f"the longest {longest:.1f} s, {counters}, {requests}")
        assert longest < PAUSE_MAX
        reads = [requests[name] for name in ("GetObject", "HeadObject", "ListObjectsV2") if name in requests]
        hedged = sum(each["hedged"] for each in reads)
        assert 1 <= hedged <= sum(each["count"] for each in reads) / 20, requests
        assert sum(each["hedges_won"] for each in reads) >= 1


@pytest.mark.parametrize("count", [1, 3])
def test_connections_are_bounded(mount, bucket, count):
    bodies = {f"parallel/{number}": pattern(3 * MEGABYTE, number) for number in range(8)}
    bucket.put_many(bodies)
    with through(mount, "--connections", str(count)) as relay:
        samples = []
        with concurrent.futures.ThreadPoolExecutor(8) as readers:
            reads = {name: readers.submit((mount.path / name).read_bytes) for name in bodies}
            while not all(read.done() for read in reads.values()):
                samples.append(relay.counters()["open"])
                time.sleep(0.02)
        assert all(read.result() == bodies[name] for name, read in reads.items())
        figures = mount.status()["connections"]
        assert figures["max"] == count and figures["reading_max"] == 2, figures
        # A connection given up and the one that follows it may overlap for a moment in the relay's eyes.
        most = max(min(pair) for pair in zip(samples, samples[1:], strict=False))
        assert most == count, samples
