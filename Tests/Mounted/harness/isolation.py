"""The body of a test in a process of its own: another user, a deadline, and an end even when a mount hangs."""

import faulthandler
import os
import pickle
import select
import signal
import sys
import time

import pytest

from . import mount_table
from .processes import processes_of


def run_body(body, actor, environment, seconds):
    """Runs `body()` in a forked child as `actor`. Returns the child's session id; fails or skips as the body did."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(read)
        _serve(write, body, actor, environment)
    os.close(write)
    answer = _wait(read, child, seconds)
    return child, answer


def report(answer):
    """Repeats in this process what the body's process came to."""
    kind, text = answer
    if kind == "skipped":
        pytest.skip(text)
    if kind == "failed":
        pytest.fail(text, pytrace=False)


def sweep(mark, directory, session, grace):
    """Removes what a test left after `grace` seconds: mounts, then processes by their id.

    Returns lines that name what had to be removed.
    """
    end = time.monotonic() + grace
    while time.monotonic() < end and (mount_table.under(directory) or processes_of(mark, directory, session)):
        time.sleep(0.05)
    removed = []
    for entry in mount_table.under(directory):
        removed.append(f"mount {entry.path} ({entry.filesystem})")
        mount_table.abort(entry)
        mount_table.detach(entry)
    for process in processes_of(mark, directory, session):
        removed.append(f"process {process.pid}: {process.command}")
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + 10
    while (stuck := processes_of(mark, directory, session)) and time.monotonic() < end:
        time.sleep(0.05)
    removed += [f"process that SIGKILL did not end: {each.pid} ({each.state}) {each.command}" for each in stuck]
    return removed


def _serve(write, body, actor, environment):
    os.setsid()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        actor.become()
        os.environ.clear()
        os.environ.update(environment)
        os.umask(0o022)
        body()
        answer = ("passed", "")
    except pytest.skip.Exception as skipped:
        answer = ("skipped", str(skipped))
    except BaseException as error:  # noqa: BLE001 - the parent reports it, whatever it is
        answer = ("failed", _describe(error))
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    os._exit(0)


def _describe(error):
    information = pytest.ExceptionInfo.from_exception(error)
    own = information.traceback.filter(lambda entry: "/harness/isolation.py" not in str(entry.path))
    information.traceback = own or information.traceback
    return str(information.getrepr(style="short"))


def _wait(read, child, seconds):
    data, end = b"", time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([read], [], [], max(0, end - time.monotonic()))
        if not ready:
            os.close(read)
            return ("failed", f"not done after {seconds} s; stacks on stderr\n{_end(child)}")
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        data += piece
    os.close(read)
    _, status = os.waitpid(child, 0)
    return pickle.loads(data) if data else ("failed", f"the body's process ended with wait status {status}")


def _end(child):
    """Ends a body that overran, after it has printed its stacks."""
    os.kill(child, signal.SIGUSR1)
    time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return ""
        time.sleep(0.05)
    return "SIGKILL did not end it within 10 s"
