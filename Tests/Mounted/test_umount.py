"""`pail umount`: uploads first, busy mounts retried and explained, foreign mounts too."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
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
@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_all_of_them(mount, mnt, bucket):
    """In a mount namespace of its own: --all takes whatever it sees. A mount inside another goes first."""
    other = mount.directory / "other"
    other.mkdir()
    script = """
        awk '/ - fuse[.]pail /{print $5}' /proc/self/mountinfo | while read -r each; do umount -l "$each"; done
        "$0" mount "$1" "$2"
        mkdir "$2/inside" "$2/empty"
        "$0" mount "$1/inside" "$2/inside"
        "$0" mount -o ro "$1" "$3"
        echo one >"$2/first"
        echo two >"$2/inside/second"
        "$0" umount --all --json
        ! grep 'fuse[.]pail' /proc/self/mountinfo
    """
    result = run("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, mount.tool.program, bucket.source, mnt,
                 other, env=mount.environment)
    reports = json.loads(result.stdout)
    assert [each["mountpoint"] for each in reports] == [str(other), f"{mnt}/inside", str(mnt)], str(result)
    assert {each["outcome"] for each in reports} == {"unmounted"}, str(result)
    assert bucket.get("first") == b"one\n" and bucket.get("inside/second") == b"two\n"
    mount.wait_until_no_daemon()


@pytest.mark.first_server
@pytest.mark.unmounted
def test_mounts_of_other_programs(mount, mnt, bucket):
    """s3fs's and rclone's, as whoever mounted them: who holds them is named, and they go when they are free."""
    from harness.tools import S3fs
    rclone = Path(sys.prefix) / "bin" / "rclone"
    bucket.put("file", b"text")

    def with_s3fs():
        S3fs().start(mount, [])

    def with_rclone():
        remote = f":s3,provider=Other,env_auth=true,endpoint='{bucket.server.endpoint}':{bucket.name}/{bucket.prefix}"
        run(rclone, "mount", "--daemon", "--vfs-cache-mode", "writes", "--cache-dir", mount.scratch / "rclone", remote, mnt,
            env=mount.environment | {"RCLONE_CONFIG": "/dev/null"})
        wait_for(lambda: mount_table.at(mnt), 10, "rclone in the mount table")

    programs = {name: start for name, start, path in [("s3fs", with_s3fs, shutil.which("s3fs")),
                                                      ("rclone", with_rclone, rclone.exists())] if path}
    if not programs:
        pytest.skip("neither s3fs nor rclone is installed")
    for name, start in programs.items():
        start()
        assert (mnt / "file").read_bytes() == b"text", name
        with subprocess.Popen(["sleep", "600"], cwd=mnt) as holder:
            result = mount.pail("umount", "--timeout", "1", mnt, check=False)
            holder.kill()
        assert result.code == 3 and str(holder.pid) in result.stderr and "sleep" in result.stderr, f"{name}: {result}"
        assert (mnt / "file").read_bytes() == b"text", name
        mount.pail("umount", mnt)
        assert not mount_table.at(mnt), name


@pytest.mark.first_server
@pytest.mark.actors("root")
def test_bind_mounts(mount, mnt, bucket):
    """A bind mount of a part goes alone; what it is of stays, and is not unmounted behind its back."""
    (mnt / "dir").mkdir()
    (mnt / "dir/file").write_text("text")
    other = mount.directory / "other"
    other.mkdir()
    run("mount", "--bind", mnt / "dir", other)
    with subprocess.Popen(["sleep", "600"], cwd=other) as holder:
        result = mount.pail("umount", "--timeout", "1", other, check=False)
        holder.kill()
    assert result.code == 3 and str(holder.pid) in result.stderr, str(result)
    daemon = mount.daemon()
    result = mount.pail("umount", other)
    assert not mount_table.at(other) and mount_table.at(mnt) and mount.daemon() == daemon, str(result)
    assert f"still mounted at {mnt}" in result.stderr, str(result)
    (mnt / "after").write_text("after")
    # The other way round, the data is in the bucket, and whoever uses the bind mount goes on.
    run("mount", "--bind", mnt / "dir", other)
    result = mount.pail("umount", mnt)
    assert not mount_table.at(mnt) and bucket.get("after") == b"after", str(result)
    assert f"still mounted at {other}" in result.stderr and (other / "file").read_text() == "text", str(result)
    (other / "last").write_text("last")
    run("umount", other)
    mount.wait_until_no_daemon()
    assert bucket.get("dir/last") == b"last"


@pytest.mark.first_server
@pytest.mark.unmounted
@pytest.mark.actors("root")
def test_mounts_of_autofs(mount, mnt):
    """What the automounter made is unmounted like any other, by its path, and comes back when somebody asks for it."""
    if not shutil.which("automount") or not os.path.exists("/dev/autofs"):
        pytest.skip("no automounter")
    top, maps = mount.directory / "auto", mount.scratch
    (maps / "map").write_text("data -fstype=tmpfs,size=1m :tmpfs\n")
    (maps / "master").write_text(f"{top} file:{maps / 'map'} --timeout=600\n")
    # In a session of its own: whoever is of the automounter's process group gets nothing mounted.
    with subprocess.Popen(["automount", "--foreground", "--dont-check-daemon", "--pid-file", maps / "pid", maps / "master"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as automounter:
        try:
            wait_for(lambda: mount_table.at(top), 20, "the automounter's directory")
            assert os.listdir(top / "data") == [] and mount_table.at(top / "data")
            with holding("open file", top / "data", 600) as pid:
                result = mount.pail("umount", "--timeout", "1", top / "data", check=False)
                assert result.code == 3 and str(pid) in result.stderr, str(result)
            mount.pail("umount", top / "data")
            assert not mount_table.at(top / "data") and mount_table.at(top)
            # Looked at, it is there again, and empty.
            assert os.listdir(top / "data") == [] and mount_table.at(top / "data")
            mount.pail("umount", top / "data")
        finally:
            automounter.terminate()
            automounter.wait(20)
    assert not mount_table.at(top)


@pytest.mark.first_server
@pytest.mark.actors("user")
def test_processes_of_others_are_counted(mount, mnt):
    """An ordinary user may not look into them, and is told so. Its own daemons are not among them."""
    with holding("working directory", mnt, 600):
        result = mount.pail("umount", "--timeout", "1", "--json", mnt, check=False)
        others = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _is_anothers(pid)]
    (report,) = json.loads(result.stdout)
    count = report["holders"]["unreadable_processes"]
    assert result.code == 3 and f"({count} process" in result.stderr and "of other users" in result.stderr, str(result)
    # Some come and go.
    assert abs(count - len(others)) <= 10, (count, len(others))


def _is_anothers(pid):
    try:
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    except OSError:
        return False
    # Threads of the kernel have no memory.
    return "VmSize" in fields and int(fields["Uid"].split()[0]) != os.geteuid()


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


@contextmanager
def _pending(mount, mnt):
    """A mount with a file of which the server takes nothing, until the relay is set to something else."""
    with mount.through_relay(compare=False) as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        relay.set("hold uploads")
        (mnt / "pending").write_text("pending")
        yield relay


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
    with _pending(mount, mnt) as relay:
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
    with _pending(mount, mnt) as relay:
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
