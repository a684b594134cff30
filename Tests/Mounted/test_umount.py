"""`pail umount`: uploads first, busy mounts retried and explained, foreign mounts too."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from harness import mount_table
from harness.content import pattern, write_large
from harness.counting import counting_relay
from harness.holders import WAYS, holding
from harness.processes import Forked, run, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.no_compare]


def test_at_once(mount, mnt):
    (mnt / "file").write_text("text")
    result = mount.pail("umount", mnt)
    assert result.seconds < 10 and not mount_table.at(mnt)
    mount.wait_until_no_daemon()
    assert mount.bucket.get("file") == b"text" and os.listdir(mnt) == []


@pytest.mark.deadline(240)
def test_uploads_first(mount, mnt, bucket):
    digest = write_large(mnt / "large", 300)
    for index in range(50):
        (mnt / f"small{index}").write_bytes(pattern(1000, index))
    mount.pail("umount", "--timeout", "180", mnt, timeout=200)
    assert bucket.sha256("large") == digest
    assert all(bucket.get(f"small{index}") == pattern(1000, index) for index in range(50))
    mount.wait_until_no_daemon()


def test_a_large_file_is_no_failure(mount, mnt, bucket):
    """Its parts are sent while it is written, before its last times are known: those follow, and are waited for."""
    (mnt / "large").write_bytes(pattern(40 << 20))
    mount.pail("umount", mnt)
    assert not mount_table.at(mnt) and bucket.get("large") == pattern(40 << 20)


@pytest.mark.first_server
@pytest.mark.parametrize("way", WAYS)
def test_busy_for_two_seconds(mount, mnt, way):
    _skip_if_not_allowed(way)
    with holding(way, mnt, 2):
        result = mount.pail("umount", "--timeout", "20", mnt)
        assert 1 < result.seconds < 10 and not mount_table.at(mnt)
    mount.wait_until_no_daemon()


@pytest.mark.first_server
@pytest.mark.parametrize("way", WAYS)
def test_busy_for_ever(mount, mnt, way):
    _skip_if_not_allowed(way)
    with holding(way, mnt, 600) as pid:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = os.path.basename(file.read().split(b"\0")[0].decode())
        result = mount.pail("umount", "--timeout", "2", mnt, check=False)
        assert result.code == 3 and result.seconds < 10, str(result)
        assert str(pid) in result.stderr and command in result.stderr, str(result)
        # Still in use, so still usable.
        (mnt / "after").write_text("after")
        assert (mnt / "after").read_text() == "after"
    mount.pail("umount", mnt)
    assert mount.bucket.get("after") == b"after"


@pytest.mark.first_server
def test_lazy(mount, mnt):
    (mnt / "file").write_bytes(pattern(300_000))
    with open(mnt / "file", "rb", buffering=0) as file:
        result = mount.pail("umount", "--lazy", "--timeout", "2", mnt)
        assert result.seconds < 10 and not mount_table.at(mnt)
        assert file.read() == pattern(300_000)
    mount.wait_until_no_daemon(20)
    assert mount.bucket.get("file") == pattern(300_000)


@pytest.mark.first_server
def test_paths_that_mean_the_mount(mount, mnt, scratch):
    os.symlink(mnt, scratch / "link")
    for path, directory in ((f"{mnt}/", None), ("mnt", mount.directory), (scratch / "link", None), (".", mnt)):
        result = mount.pail("umount", "--timeout", "5", path, cwd=directory, check=False)
        assert result.code == 0 and not mount_table.at(mnt), f"{path}: {result}"
        mount.wait_until_no_daemon()
        mount.start()
    mount.stop()


@pytest.mark.first_server
@pytest.mark.parametrize("how", ["fusermount3 -u", "umount", "SIGTERM", "SIGINT"])
def test_by_other_means(mount, mnt, bucket, how):
    """However the mount goes away, what was written arrives before the daemon ends."""
    if how == "umount" and os.geteuid() != 0:
        pytest.skip("only root")
    for index in range(20):
        (mnt / f"file{index}").write_bytes(pattern(50_000, index))
    daemon = mount.daemon()
    if how.startswith("SIG"):
        os.kill(daemon, getattr(signal, how))
    else:
        run(*how.split(), mnt)
    wait_for(lambda: not mount_table.at(mnt), 20, "not mounted any more")
    mount.wait_until_no_daemon(30)
    assert all(bucket.get(f"file{index}") == pattern(50_000, index) for index in range(20))


@pytest.mark.first_server
@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_a_mount_that_is_not_pails(mount, mnt):
    run("mount", "-t", "tmpfs", "none", mnt)
    with holding("open file", mnt, 600) as pid:
        result = mount.pail("umount", "--timeout", "1", mnt, check=False)
        assert result.code == 3 and str(pid) in result.stderr and "sleep" in result.stderr, str(result)
    mount.pail("umount", mnt)
    assert not mount_table.at(mnt)


@pytest.mark.first_server
@pytest.mark.actors("root")
def test_several_at_once(mount, mnt):
    second = mount.directory / "second"
    second.mkdir()
    run("mount", "-t", "tmpfs", "none", second)
    mount.pail("umount", mnt, second)
    assert not mount_table.at(mnt) and not mount_table.at(second)


@pytest.mark.first_server
@pytest.mark.unmounted
@pytest.mark.parametrize("target", ["mnt", "missing"])
def test_nothing_mounted(mount, target):
    result = mount.pail("umount", mount.directory / target, check=False)
    assert result.code == 1 and target in result.stderr, str(result)
    result = mount.pail("umount", "--json", mount.directory / target, check=False)
    (report,) = json.loads(result.stdout)
    assert result.code == report["exit_code"] == 1 and report["outcome"] == "not_mounted", str(result)


@pytest.mark.first_server
@pytest.mark.actors("user")
def test_a_mount_of_another_user(mount):
    """Root's own mounts are not a user's to take away."""
    result = mount.pail("umount", "--timeout", "1", "/proc", check=False)
    assert result.code == 1 and "root" in result.stderr and mount_table.at("/proc"), str(result)


@pytest.mark.first_server
def test_ten_times_over(mount, mnt, bucket):
    for turn in range(10):
        (mnt / f"turn{turn}").write_text(str(turn))
        begin = time.monotonic()
        mount.remount()
        assert len(os.listdir(mnt)) == turn + 1 and time.monotonic() - begin < 15
    mount.stop()


# MARK: daemons that cannot be asked

def _control_directory(mount):
    return Path("/run/pail") if os.geteuid() == 0 else mount.runtime / "pail"


def _take_control_away(mount):
    """Removes the control socket, as logind does with a user's runtime directory at logout."""
    if os.geteuid() == 0:  # other tests have theirs there
        digest = 0xcbf29ce484222325
        for byte in os.fsencode(mount.path):
            digest = (digest ^ byte) * 0x100000001b3 % 2**64
        os.unlink(_control_directory(mount) / f"{digest:016x}.sock")
    else:
        shutil.rmtree(_control_directory(mount))


@pytest.mark.first_server
def test_a_lost_control_socket_comes_back(mount, mnt, bucket):
    _take_control_away(mount)
    assert mount.pail("status", mnt, check=False).code == 1
    wait_for(lambda: mount.pail("status", mnt, check=False).code == 0, 15, "an answer")
    assert oct(_control_directory(mount).stat().st_mode & 0o777) == "0o700"
    (mnt / "file").write_bytes(pattern(1000))
    mount.pail("umount", mnt)
    assert bucket.get("file") == pattern(1000)


@pytest.mark.first_server
@pytest.mark.unmounted
def test_a_daemon_that_cannot_be_asked_is_waited_for(mount, mnt, bucket):
    """Without its socket nobody can drain it: it is unmounted, and its end tells whether everything is in S3."""
    with counting_relay(bucket.server.endpoint, latency_ms=100, rate_mb=0.5) as relay:
        mount.endpoint = relay.endpoint
        mount.start()
        (mnt / "first").write_text("first")
        for index in range(10):
            (mnt / f"file{index}").write_bytes(pattern(300_000, index))
        _take_control_away(mount)
        result = mount.pail("umount", mnt)
        assert "does not answer" in result.stderr, str(result)
        assert all(bucket.get(f"file{index}") == pattern(300_000, index) for index in range(10)), str(result)
    mount.wait_until_no_daemon()


@pytest.mark.first_server
@pytest.mark.unmounted
def test_what_a_daemon_that_cannot_be_asked_has_left_is_told(mount, mnt):
    with mount.through_relay(compare=False) as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("hold uploads")
        (mnt / "pending").write_text("pending")
        _take_control_away(mount)
        result = mount.pail("umount", "--timeout", "1", mnt, check=False)
        assert result.code == 4 and not mount_table.at(mnt), str(result)
        assert str(mount.daemon()) in result.stderr or "pending" in result.stderr, str(result)
        relay.set("none")
        mount.wait_until_no_daemon(60)
    assert mount.bucket.get("pending") == b"pending"


@pytest.mark.first_server
@pytest.mark.unmounted
def test_a_daemon_killed_at_the_end_has_left_something(mount, mnt):
    """Its last word, that everything goes well, is not taken for the outcome."""
    with mount.through_relay(compare=False) as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("hold uploads")
        (mnt / "pending").write_text("pending")
        daemon = mount.daemon()
        waiting = Forked(lambda: mount.pail("umount", "--lazy", mnt, check=False))
        wait_for(lambda: not mount_table.at(mnt), 20, "detached")
        time.sleep(3)
        os.kill(daemon, signal.SIGKILL)
        result = waiting.result()
        assert result.code == 4 and "pending" in result.stderr, str(result)
        relay.set("none")
        mount.start()
        wait_for(lambda: mount.bucket.exists("pending"), 30, "the upload")
        mount.stop()


@pytest.mark.first_server
@pytest.mark.first_user
@pytest.mark.unmounted
@pytest.mark.deadline(180)
def test_an_unmounted_daemon_goes_on_while_something_moves(mount, mnt, bucket):
    """Half a minute without a byte would be its end; an upload that takes longer is not."""
    with counting_relay(bucket.server.endpoint, latency_ms=10, rate_mb=0.25) as relay:
        mount.endpoint = relay.endpoint
        mount.start()
        (mnt / "first").write_text("uploaded")
        mount.flush()
        (mnt / "pending").write_bytes(pattern(10_000_000))
        run("fusermount3", "-u", mnt)
        begin = time.monotonic()
        mount.wait_until_no_daemon(120)
        assert bucket.get("pending") == pattern(10_000_000) and time.monotonic() - begin > 32


def _skip_if_not_allowed(way):
    if way == "root directory" and os.geteuid() != 0:
        pytest.skip("only root may change its root directory")
