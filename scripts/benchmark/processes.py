"""Processes: running a command with a deadline, and what a daemon and its children used."""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class TimedOut(Exception):
    pass


class Failed(Exception):
    pass


def run(command: list[str], seconds: float, stdin=subprocess.DEVNULL) -> str:
    """The output of a command. `TimedOut` after so many seconds, `Failed` with its message when it fails.

    A command that hangs in a mount cannot be killed before the mount's daemon is, so it is not waited for.
    """
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        threading.Thread(target=process.communicate, daemon=True).start()
        raise TimedOut from None
    if process.returncode != 0:
        raise Failed(f"{Path(command[0]).name} {' '.join(command[1:2])}: {(errors or output).strip()[-300:]}")
    return output


@dataclass
class Usage:
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        try:
            for task in os.listdir(f"/proc/{current}/task"):
                queue.extend(int(child) for child in Path(f"/proc/{current}/task/{task}/children").read_text().split())
        except OSError:
            continue  # it ended in this moment
    return found


def usage(pids: list[int]) -> Usage:
    """What living processes used so far, their waited-for children's time included."""
    total = Usage()
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total.cpu_seconds += sum(int(field) for field in fields[11:15]) / TICKS
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total.peak_bytes += int(line.split()[1]) * 1024
        except OSError:
            continue  # it ended in this moment
    return total


class Daemon:
    """A foreground daemon of ours, whose use of processor and memory is known even after its end."""

    SAMPLE_SECONDS = 0.1

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.cpu_seconds: float | None = None  # once it ended
        self.peak_bytes = 0
        # The kernel forgets the peak with the process (the peak that wait4 gives is that of the fork, too).
        threading.Thread(target=self.sample, daemon=True).start()

    def sample(self) -> None:
        while self.cpu_seconds is None:
            self.peak_bytes = max(self.peak_bytes, usage(tree(self.pid)).peak_bytes)
            time.sleep(self.SAMPLE_SECONDS)

    def usage(self) -> Usage:
        if self.cpu_seconds is not None:
            return Usage(self.cpu_seconds, self.peak_bytes)
        current = usage(tree(self.pid))
        self.peak_bytes = max(self.peak_bytes, current.peak_bytes)
        return Usage(current.cpu_seconds, self.peak_bytes)

    def ended(self) -> bool:
        if self.cpu_seconds is not None:
            return True
        pid, status, spent = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = spent.ru_utime + spent.ru_stime
        return True

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > deadline:
                raise TimedOut
            time.sleep(0.005)

    def kill(self) -> None:
        if not self.ended():
            for pid in tree(self.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + 10
            while not self.ended() and time.monotonic() < deadline:
                time.sleep(0.01)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1][-300:] if lines else "no output"
