"""kill -9 at random moments under random calls: what was acknowledged is there, on the mount and in the bucket.

20 seeds, or 200 with `PAIL_TEST_LONG=1`; `PAIL_CRASH_SEEDS=FIRST-LAST` sets them.
"""

import os
import random
import signal
import time

import pytest
from harness.crashes import describe, is_possible, make_calls, possible_outcomes
from harness.processes import Forked, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.first_user, pytest.mark.no_compare,
              pytest.mark.deadline(3600 if {"PAIL_CRASH_SEEDS", "PAIL_TEST_LONG"} & os.environ.keys() else 180)]

FIRST, LAST = map(int, os.environ.get("PAIL_CRASH_SEEDS", "1-200" if "PAIL_TEST_LONG" in os.environ else "1-20").split("-"))


@pytest.mark.mount_options("--part-size", "5M")
def test_nothing_acknowledged_is_lost(mount, mnt, bucket):
    for seed in range(FIRST, LAST + 1):
        dice = random.Random(f"kill {seed}")
        directory = mnt / f"s{seed}"
        directory.mkdir()
        # While no upload has succeeded, close() waits for one: both ways are to be killed.
        if dice.random() < 0.8:
            (directory / "first").write_text("first")
            mount.flush()
            os.unlink(directory / "first")
        # Reads of the state at a random moment, from "nothing done yet" to "uploads under way".
        worker = Forked(make_calls, directory, seed, time.monotonic() + 5)
        time.sleep(dice.choice([0.05, 0.2, 0.5, 1.0]) * dice.random())
        daemon, killed = mount.daemon(), time.monotonic()
        os.kill(daemon, signal.SIGKILL)
        log, failed, error = worker.result(30)
        mount.wait_until_no_daemon()
        assert log[-1].outcome == "unknown" and failed >= killed, f"seed {seed}: {error} before the kill, {log[-3:]}"
        outcomes = possible_outcomes(log)

        # A second kill while the first one is being recovered from, now and then.
        mount.start(*mount.options)
        if dice.random() < 0.3:
            time.sleep(0.3 * dice.random())
            os.kill(mount.daemon(), signal.SIGKILL)
            mount.wait_until_no_daemon()
            mount.start(*mount.options)
        found = {each.name: each.read_bytes() for each in directory.iterdir()}
        assert is_possible(found, outcomes), f"seed {seed}, the mount after {log[-3:]}:\n{describe(found, outcomes)}"
        wait_for(lambda: mount.status()["dirty_files"] == 0, 60, f"seed {seed}: everything recovered is uploaded")
        stored = {key.removeprefix(f"s{seed}/"): bucket.get(key) for key in bucket.files() if key.startswith(f"s{seed}/")}
        assert stored == found, f"seed {seed}, the bucket after {log[-3:]}:\n{describe(stored, [found])}"
        assert {each.name: each.read_bytes() for each in directory.iterdir()} == found, f"seed {seed}: changed by the upload"
        # One whose beginning was not answered yet has no name that anybody could give it up by. Nothing is stored in it.
        wait_for(lambda: not any(map(bucket.parts, bucket.open_uploads())), 20,
                 f"seed {seed}: no multipart upload with parts is left open, after {log[-3:]}")
    mount.stop()
