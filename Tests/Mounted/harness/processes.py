"""Running programs and forked functions, and finding the processes that a test left."""

import os
import pickle
import signal
import subprocess
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

#: Environment variable that marks every program a test starts, daemons included.
MARK = "PAIL_MOUNTED_TEST"


@dataclass
class Result:
    """What a program did. `seconds` is wall time."""

    argv: list
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self):
        return self.stdout + self.stderr

    def __str__(self):
        return (f"$ {' '.join(map(str, self.argv))}\nexit {self.code} after {self.seconds:.1f} s\n"
                f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-4000:]}")


def run(*argv, check=True, timeout=60, actor=None, **options):
    """Runs a program to its end. With `check`, an exit code other than 0 fails the test with its output."""
    if actor is not None and os.geteuid() == 0 and actor.uid != 0:
        options.update(user=actor.uid, group=actor.gid, extra_groups=[])
    begin = time.monotonic()
    # Files, not pipes: a daemon that keeps the descriptors must not make the caller wait for it.
    with _temporary() as out, _temporary() as err:
        process = subprocess.Popen([os.fspath(a) for a in argv], stdout=out, stderr=err,
                                   stdin=options.pop("stdin", subprocess.DEVNULL), **options)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"no end after {timeout} s: {argv}\n{_text(out)}{_text(err)}") from None
        result = Result(list(argv), code, _text(out), _text(err), time.monotonic() - begin)
    assert not check or code == 0, str(result)
    return result


def sh(script, **options):
    """Runs a shell script that stops at its first failure."""
    return run("/bin/bash", "-euo", "pipefail", "-c", script, **options)


class Forked:
    """A function running in a process of its own, optionally as another user. `result()` waits for its answer."""

    def __init__(self, function, *arguments, actor=None):
        self._read, write = os.pipe()
        self.pid = os.fork()
        self._answer = None
        if self.pid == 0:
            os.close(self._read)
            self._serve(write, function, arguments, actor)
        os.close(write)

    def result(self, timeout=60):
        """The function's return value, or an AssertionError with its traceback."""
        if self._answer is None:
            data = _read_until_end(self._read, timeout)
            self.kill() if data is None else self._reap()
            assert data is not None, f"forked process gave no answer in {timeout} s"
            self._answer = pickle.loads(data) if data else (False, "forked process died without an answer")
        good, value = self._answer
        assert good, f"in the forked process:\n{value}"
        return value

    def kill(self):
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._reap()

    def _reap(self):
        if self.pid:
            os.waitpid(self.pid, 0)
            self.pid = 0

    @staticmethod
    def _serve(write, function, arguments, actor):
        try:
            if actor is not None:
                actor.become()
            answer = (True, function(*arguments))
        except BaseException as error:  # noqa: BLE001 - everything goes back to the parent
            answer = (False, "".join(traceback.format_exception(error)))
        with os.fdopen(write, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
        os._exit(0)


def in_parallel(*functions, timeout=60):
    """Runs each function in a process of its own at once, and returns their results in order."""
    started = [Forked(function) for function in functions]
    return [each.result(timeout) for each in started]


def as_actor(actor, function, *arguments, timeout=60):
    """Runs a function in a forked process as `actor` (root only) and returns its result."""
    return Forked(function, *arguments, actor=actor).result(timeout)


def wait_for(condition, timeout, what):
    """Polls until `condition()` is true and returns that value; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Found:
    """A process of the machine, as found in /proc."""

    pid: int
    command: str

    @property
    def state(self):
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"


def processes_of(mark, directory, session=None):
    """Programs that carry `mark` in their environment or name `directory`, or belong to `session`. No zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        base = Path("/proc") / entry
        command = _read(base / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        stat = _read(base / "stat").rpartition(b")")[2].split()
        if not stat or stat[0] in (b"Z", b"X"):
            continue
        of_session = session is not None and int(stat[3]) == session
        marked = f"{MARK}={mark}".encode() in _read(base / "environ").split(b"\0")
        if marked or of_session or f"{directory}/" in command + "/":
            found.append(Found(int(entry), command))
    return found


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _temporary():
    import tempfile
    return tempfile.TemporaryFile()


def _text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def _read_until_end(descriptor, timeout):
    """Everything until the writers have closed, or None when that takes longer than `timeout` seconds."""
    import select
    end, pieces = time.monotonic() + timeout, []
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0, end - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            os.close(descriptor)
            return b"".join(pieces)
        pieces.append(piece)
