"""Measures pail beside s3fs and rclone mount; see the description that --help prints."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from .names import NAMES_PARTS, names_workloads
from .processes import Failed, TimedOut
from .reading import READING_PARTS, reading_workloads
from .report import COLUMNS, Row, Run, format_rows
from .store import BUCKET, Relay, Store, stop_server, warn
from .tools import TOOLS, FuseControl, Tool
from .workloads import Workload, all_workloads
from .writing import WRITING_PARTS, writing_workloads

DESCRIPTION = """\
Measures pail beside Debian's s3fs and rclone mount: the same work in turn, on one S3 server, directly (through a relay
that only counts) and behind a relay of 30 ms to the first byte and 90 MB/s per connection, each run from a fresh mount
with empty caches and a dropped kernel cache. What was written is read back from S3 and compared.

seconds   the median of the runs. Writing ends when the mount is gone and everything is in S3.
CPU s     of the mount's daemon and its children, in the timed part.  RSS MB  its peak.
S3 req    what the relay saw in the timed part.
/peer     the time, divided by the best peer's.   /limit  divided by that of plain curl, 32 requests side by side
          (as many as the workload has threads, for random reads; one by one for listings and first bytes).
FAIL, > N (seconds, timed out) and n/a rows say why.
"""

FULL = {"big": 1 << 30, "first": 20, "random": 200, "small": 1000, "huge": 4 << 30, "medium": 500, "list": 10_000, "tree": 2000, "directory": 200, "tar": 600, "change": 512 << 20, "written": 500}
QUICK = {"big": 128 << 20, "first": 10, "random": 50, "small": 100, "huge": 512 << 20, "medium": 50, "list": 1000, "tree": 200, "directory": 40, "tar": 60, "change": 64 << 20, "written": 50}


# The workloads of a set, and the sizes whose objects it needs.
SETS = {
    "all": (all_workloads, set(FULL) - {"huge", "medium", "change", "written"}),
    "reading": (reading_workloads, READING_PARTS),
    "writing": (writing_workloads, WRITING_PARTS),
    "names": (names_workloads, NAMES_PARTS),
}


class Bench:
    def __init__(self, arguments: argparse.Namespace, directory: Path):
        self.arguments = arguments
        self.directory = directory
        self.rows: list[Row] = []
        self.number = 0
        self.relays: list[Relay] = []
        self.store: Store | None = None
        self.tool: Tool | None = None
        self.control: FuseControl | None = None

    def set_up(self) -> None:
        arguments = self.arguments
        sizes = dict(QUICK if arguments.quick else FULL)
        for item in arguments.sizes.split(",") if arguments.sizes else []:
            name, _, value = item.partition("=")
            if name not in sizes:
                raise Failed(f"--sizes: no '{name}'; there are {', '.join(sizes)}")
            sizes[name] = parse_bytes(value)
        self.control = FuseControl(self.directory)
        print(f"starting {arguments.server} ...", file=sys.stderr)
        self.store = Store(self.directory, arguments.server, sizes)
        print("writing the objects ...", file=sys.stderr)
        self.store.prepare(SETS[arguments.set][1])
        far = (arguments.latency, arguments.rate)
        modes = {"direct": (0, 0), "relay": far, "tls": far}
        for mode in arguments.modes.split(","):
            if mode not in modes:
                raise Failed(f"--modes: no '{mode}'; there are {', '.join(modes)}")
            self.relays.append(Relay(mode, self.store.port, *modes[mode], self.directory, tls=mode == "tls"))

    def tear_down(self) -> None:
        """Ends and removes everything; one step that fails does not keep the others from it."""
        steps = [self.tool.destroy] if self.tool else []
        steps += [relay.kill for relay in self.relays]
        steps.append(lambda: stop_server(self.directory))
        if self.control:
            steps.append(self.control.close)
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001
                warn(f"cleaning up: {error}")
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- one run ---

    def drop_caches(self) -> None:
        os.sync()
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
        except OSError as error:
            warn(f"kernel caches are not dropped: {error.strerror}")

    def run_tool(self, relay: Relay, workload: Workload, tool_class: type[Tool]) -> Run:
        self.number += 1
        prefix = f"run-{self.number:05}"
        if workload.needs_prefix:
            self.store.make_prefix(prefix)
        workload.prepare(prefix)
        directory = self.directory / f"mount-{self.number:05}"
        directory.mkdir()
        tool = self.tool = tool_class(directory, self.control, relay, self.store.keys, BUCKET)
        limit = self.arguments.timeout
        start = time.monotonic()
        timed = False
        try:
            tool.mount()
            if workload.warm:
                workload.warm_up(tool.mountpoint, limit)
                if workload.warm == "again":
                    time.sleep(tool.settle_seconds)
                    tool.unmount(time.monotonic() + limit)
                    self.drop_caches()
                    tool.mount()
                elif workload.warm == "dropped":
                    self.drop_caches()
            else:
                self.drop_caches()
            before = tool.daemon.usage()
            server_before = self.store.cpu_seconds()
            relay.ask("/reset")
            timed = True
            start = time.monotonic()
            deadline = start + limit
            workload.run(tool.mountpoint, prefix, limit)
            if workload.until_stored:
                tool.daemon.usage()
                tool.unmount(deadline)
            seconds = time.monotonic() - start
            counters = relay.ask("/reset")
            after = tool.daemon.usage()
            result = Run(
                status="ok",
                seconds=seconds,
                cpu_seconds=after.cpu_seconds - before.cpu_seconds,
                peak_bytes=after.peak_bytes,
                server_cpu_seconds=self.store.cpu_seconds() - server_before,
                requests=counters["requests"],
                up_bytes=counters["up_bytes"],
                down_bytes=counters["down_bytes"],
            )
            if workload.name == "reread-disk" and counters["down_bytes"] > self.store.sizes["big"] // 2:
                return Run("n/a", seconds, detail=f"no disk cache that outlives the mount: {seconds:.2f} s, fetched again")
            if not workload.until_stored:
                tool.unmount(time.monotonic() + limit)
            workload.verify(prefix)
            return result
        except TimedOut:
            what = "" if timed else "while mounting or warming up"
            return Run("timeout", limit, detail=what)
        except (Failed, OSError) as error:
            return Run("fail", time.monotonic() - start, detail=str(error))
        finally:
            tool.destroy()
            self.tool = None
            if workload.needs_prefix:
                self.store.remove_prefix(prefix)

    def run_limit(self, relay: Relay, workload: Workload) -> Run | None:
        self.number += 1
        prefix = f"run-{self.number:05}"
        workload.prepare(prefix)
        try:
            curl = workload.limit(relay, prefix)
            if not curl:
                return None
            self.drop_caches()
            server_before = self.store.cpu_seconds()
            relay.ask("/reset")
            seconds = curl.run(self.arguments.timeout)
            if curl.then:
                seconds += curl.then.run(self.arguments.timeout)
            counters = relay.ask("/reset")
            server = self.store.cpu_seconds() - server_before
            if curl.after:
                curl.after()
            requests, up, down = (counters[name] for name in ("requests", "up_bytes", "down_bytes"))
            return Run("ok", seconds, server_cpu_seconds=server, requests=requests, up_bytes=up, down_bytes=down)
        except TimedOut:
            return Run("timeout", self.arguments.timeout)
        except Failed as error:
            return Run("fail", detail=str(error))
        finally:
            if workload.needs_prefix:
                self.store.remove_prefix(prefix)

    # --- all runs ---

    def measure(self, relay: Relay, workload: Workload, tools: list[type[Tool]]) -> None:
        runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        runs["limit"] = []
        print(f"\n{workload.title}  [{relay.name}: {workload.name}]\n{COLUMNS}", flush=True)
        # In turn, so that a slow minute of the machine is everybody's.
        for _ in range(self.arguments.runs):
            for tool in tools:
                before = runs[tool.name]
                if before and before[-1].status != "ok":
                    continue  # it would fail, or take its whole time, again
                if reason := tool.missing():
                    before.append(Run("n/a", detail=reason))
                else:
                    before.append(self.run_tool(relay, workload, tool))
            if self.arguments.limit and (run := self.run_limit(relay, workload)):
                runs["limit"].append(run)
        rows = [
            Row(relay.name, workload.name, workload.title, name, found, workload.note)
            for name, found in runs.items() if found
        ]
        print(format_rows(rows), flush=True)
        self.rows += rows

    def run(self) -> int:
        arguments = self.arguments
        self.set_up()
        tools = []
        for name in arguments.tools.split(","):
            if name not in TOOLS:
                raise Failed(f"--tools: no '{name}'; there are {', '.join(TOOLS)}")
            tools.append(TOOLS[name])
        workloads = SETS[arguments.set][0](self.store)
        if arguments.only:
            wanted = arguments.only.split(",")
            unknown = set(wanted) - {workload.name for workload in workloads}
            if unknown:
                names = ", ".join(workload.name for workload in workloads)
                raise Failed(f"--only: no '{sorted(unknown)[0]}'; there are {names}")
            workloads = [workload for workload in workloads if workload.name in wanted]
        environment = {
            "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
            "server": arguments.server,
            "runs": arguments.runs,
            "sizes": self.store.sizes,
            "modes": {relay.name: relay.description for relay in self.relays},
            "tools": {tool.name: tool.missing() or tool.version() for tool in tools},
            "date": time.strftime("%Y-%m-%d"),
        }
        print("\n".join(f"{name}: {value}" for name, value in environment.items()))
        for relay in self.relays:
            for workload in workloads:
                self.measure(relay, workload, tools)
        failed = [row for row in self.rows if row.tool == "pail" and row.status in ("fail", "timeout")]
        print(f"\npail: {sum(row.tool == 'pail' and row.status == 'ok' for row in self.rows)} workloads done, {len(failed)} failed")
        if arguments.json:
            result = {"environment": environment, "rows": [row.as_json() for row in self.rows]}
            Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
        return 1 if failed else 0


def parse_bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    try:
        return int(text[:-1]) * units[text[-1].upper()] if text[-1:].upper() in units else int(text)
    except ValueError:
        raise Failed(f"not a number: '{text}'") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each workload, of which the median counts (3)")
    parser.add_argument("--quick", action="store_true", help="an eighth of the data, one run: minutes, not hours")
    parser.add_argument("--set", default="all", choices=SETS, help="reading, writing, names: what these are judged by (all)")
    parser.add_argument("--only", metavar="NAME,...", help="these workloads, by the name that stands in brackets")
    parser.add_argument("--tools", default="pail,s3fs,rclone", metavar="NAME,...", help="of pail, s3fs, rclone")
    parser.add_argument("--modes", default="direct,relay", metavar="NAME,...", help="of direct, relay, tls (the relay behind https)")
    parser.add_argument("--sizes", metavar="NAME=N,...", help=f"instead of {FULL}; numbers take K, M, G")
    parser.add_argument("--server", default="rgw", choices=["rgw", "seaweedfs"], help="(rgw)")
    parser.add_argument("--latency", type=float, default=30, metavar="MS", help="the relay's, in ms (30)")
    parser.add_argument("--rate", type=float, default=90, metavar="MB", help="the relay's, in MB/s per connection (90)")
    parser.add_argument("--timeout", type=float, default=0, metavar="SECONDS", help="of one run (180; quick: 60)")
    parser.add_argument("--no-limit", dest="limit", action="store_false", help="without the rows of curl")
    parser.add_argument("--json", metavar="FILE", help="write everything there too")
    parser.add_argument("--work", metavar="DIR", help="where server and caches are (a new directory of the temporary one)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs = 1 if arguments.runs == 3 else arguments.runs
    arguments.timeout = arguments.timeout or (60 if arguments.quick else 180)

    # An interrupted benchmark cleans up as a finished one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = Path(tempfile.mkdtemp(prefix="pail-bench-", dir=arguments.work))
    bench = Bench(arguments, directory)
    try:
        return bench.run()
    except (Failed, TimedOut) as error:
        print(f"bench: {error or 'timed out'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.tear_down()


sys.exit(main())
