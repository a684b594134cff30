"""kill -9 at random moments under random calls: what was acknowledged is there, on the mount and in the bucket.

20 seeds, or 200 with `PAIL_TEST_LONG=1`; `PAIL_CRASH_SEEDS=FIRST-LAST` sets them. What each is about, and which objects of
others are there before, is in `harness/crashes.py`.
"""

import os
import random
import signal
import time

import pytest
from harness.crashes import describe, directories_of, earlier_objects, is_possible, make_calls, possible_outcomes, seen
from harness.processes import Forked, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.first_user, pytest.mark.no_compare,
              pytest.mark.deadline(3600 if {"PAIL_CRASH_SEEDS", "PAIL_TEST_LONG"} & os.environ.keys() else 180)]

FIRST, LAST = map(int, os.environ.get("PAIL_CRASH_SEEDS", "1-200" if "PAIL_TEST_LONG" in os.environ else "1-20").split("-"))


@pytest.mark.mount_options("--part-size", "5M")
def test_nothing_acknowledged_is_lost(mount, mnt, bucket):
    for seed in range(FIRST, LAST + 1):
        if seed % 4 != 0:
            kill_and_compare(seed, mount, mnt, bucket)
    mount.stop()


@pytest.mark.mount_options("--part-size", "5M", "--staging-size", "16M")
def test_nothing_acknowledged_is_lost_where_there_is_little_room(mount, mnt, bucket):
    """Writers wait for uploads, and bytes that were sent are given up before their object is there."""
    for seed in range(FIRST, LAST + 1):
        if seed % 4 == 0:
            kill_and_compare(seed, mount, mnt, bucket)
    mount.stop()


def kill_and_compare(seed, mount, mnt, bucket):
    dice = random.Random(f"kill {seed}")
    directory, prefix = mnt / f"s{seed}", f"s{seed}/"
    objects = earlier_objects(seed)
    bucket.put_many({prefix + key: body for key, body in objects.items()})
    mount.pail("refresh", mnt)
    directory.mkdir(exist_ok=True)
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
    outcomes = possible_outcomes(log, objects)

    # A second kill while the first one is being recovered from, now and then.
    mount.start(*mount.options)
    if dice.random() < 0.3:
        time.sleep(0.3 * dice.random())
        os.kill(mount.daemon(), signal.SIGKILL)
        mount.wait_until_no_daemon()
        mount.start(*mount.options)
    if log[-1].kind == "move":
        # It goes on in the background, and the names are the old ones meanwhile.
        time.sleep(0.3)
        wait_for(lambda: not mount.status()["renames"], 60, f"seed {seed}: the rename of a directory goes on")
    found = seen(directory)
    assert is_possible(found, outcomes), f"seed {seed}, the mount after {log[-3:]}:\n{describe(found, outcomes)}"
    wait_for(lambda: mount.status()["dirty_files"] == 0, 60, f"seed {seed}: everything recovered is uploaded")
    stored = {key.removeprefix(prefix): bucket.get(key) for key in bucket.keys() if key.startswith(prefix)}
    stored |= {f"{path}/": b"" for path in directories_of(stored) if path}
    stored.pop("", None)
    assert stored == found, f"seed {seed}, the bucket after {log[-3:]}:\n{describe(stored, [found])}"
    assert seen(directory) == found, f"seed {seed}: changed by the upload"
    # One whose beginning was not answered yet has no name that anybody could give it up by. Nothing is stored in it.
    wait_for(lambda: not any(map(bucket.parts, bucket.open_uploads())), 20,
             f"seed {seed}: no multipart upload with parts is left open, after {log[-3:]}")
