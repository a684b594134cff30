"""`pail run`: a mount for one command, gone when the command is, whatever happens."""

import os
import signal
import subprocess
import time

import pytest
from harness.content import pattern
from harness.fakes import Relay
from harness.processes import wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.unmounted]

#: Runs without the test's own mount.
MNT = "{}"


def _run(mount, *words, options=(), check=True, **more):
    return mount.pail("run", *options, mount.bucket.source, "--", *words, check=check, **more)


def _popen(mount, *words, options=()):
    return subprocess.Popen([mount.tool.program, "run", *options, mount.bucket.source, "--", *words],
                            env=mount.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def _nothing_is_left(mount):
    mount.wait_until_no_daemon(40)
    wait_for(lambda: not any(name.startswith("pail-run-") for name in os.listdir(mount.scratch)), 10,
             "the end of the mountpoint")
    assert not [each for each in _mountpoints() if "pail-run-" in each]


def _mountpoints():
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file]


@pytest.mark.parametrize("options", [(), ("--shared",)], ids=["private", "shared"])
def test_what_it_writes_is_in_the_bucket(mount, bucket, options):
    bucket.put("in", pattern(200_000))
    script = 'test "$1" = "$PAIL_MOUNT" && cp "$1/in" "$PAIL_MOUNT/out" && grep -c " $1 " /proc/self/mountinfo'
    result = _run(mount, "sh", "-c", script, "sh", MNT, options=options)
    assert result.stdout.strip() == "1"
    assert bucket.get("out") == pattern(200_000)
    _nothing_is_left(mount)


def test_nobody_else_sees_the_mount(mount):
    """Where the machine allows it: the mount is in a namespace of its own."""
    process = _popen(mount, "sh", "-c", f"echo {MNT}; exec sleep 30")
    path = process.stdout.readline().strip()
    assert path.startswith("/") and path not in _mountpoints()
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    _nothing_is_left(mount)


def test_exit_codes_are_the_commands(mount):
    for words, code in ((["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["/nonexistent"], 127),
                        (["/etc/passwd"], 126), (["true"], 0)):
        assert _run(mount, *words, check=False).code == code, words
    _nothing_is_left(mount)


def test_a_mount_that_cannot_be_runs_nothing(mount):
    result = mount.pail("run", mount.bucket.source + "-not-there", "s3://b", "--", "sh", "-c", "echo ran", check=False)
    assert result.code == 2
    result = mount.pail("run", "s3://there-is-no-such-bucket-4711", "--", "echo", "ran", check=False)
    assert result.code == 1 and "ran" not in result.stdout and "NoSuchBucket" in result.stderr, str(result)
    _nothing_is_left(mount)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_data_arrives(mount, bucket, number):
    script = ("import os, signal, sys, time\n"
              "def end(*_): sys.exit(5)\n"
              f"signal.signal({int(number)}, end)\n"
              f"open(sys.argv[1] + '/file', 'w').write('text')\n"
              "print('ready', flush=True); time.sleep(60)\n")
    # Not `sys.executable`: an ordinary user may not be allowed to run that one.
    process = _popen(mount, "/usr/bin/python3", "-c", script, MNT)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == 5
    assert bucket.get("file") == b"text"
    _nothing_is_left(mount)


@pytest.mark.parametrize("options", [(), ("--shared",)], ids=["private", "shared"])
def test_killed_itself_it_leaves_nothing(mount, bucket, options):
    process = _popen(mount, "sh", "-c", f"echo text > {MNT}/file; echo ready; sleep 3", options=options)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(10)
    _nothing_is_left(mount)
    assert bucket.get("file") == b"text\n"


def test_a_child_that_outlives_the_command_is_waited_for(mount, bucket):
    result = _run(mount, "sh", "-c", f"(exec 3>{MNT}/late; sleep 2; echo late >&3) >/dev/null 2>&1 & echo done")
    assert 1.5 < result.seconds < 12, str(result)
    assert bucket.get("late") == b"late\n"
    _nothing_is_left(mount)


def test_several_mounts_at_once(mount, bucket):
    bucket.put("a/file", b"first")
    bucket.put("b/file", b"second")
    place = mount.scratch / "place"
    place.mkdir()
    result = mount.pail("run", f"{bucket.source.rstrip('/')}/a", "--at", f"{bucket.source.rstrip('/')}/b",
                        "--at", f"{bucket.source.rstrip('/')}/c={place}", "--", "sh", "-c",
                        'cat {1}/file "$PAIL_MOUNT_2/file"; cp {}/file {3}/copy; echo "$PAIL_MOUNT_3"')
    assert result.stdout == f"firstsecond{place}\n"
    assert bucket.get("c/copy") == b"first" and os.listdir(place) == []
    place.rmdir()
    _nothing_is_left(mount)


def test_data_that_cannot_be_uploaded_is_told(mount, bucket):
    """The command ended well and its data is not in S3: that is not success. A later mount uploads it."""
    with Relay(bucket.server.endpoint) as relay:
        relay.set("deny uploads")
        # The command does not wait for the upload of what it leaves open, and so does not see that it fails.
        result = _run(mount, "sh", "-c", f"sh -c 'exec 3>{MNT}/file; echo text >&3; kill -9 $$'; exit 0", check=False,
                      environment={"AWS_ENDPOINT_URL_S3": relay.endpoint})
        assert result.code == 4 and "file" in result.stderr and "AccessDenied" in result.stderr, str(result)
        assert not bucket.exists("file")
        # By the same endpoint: the state directory knows a bucket by it.
        relay.set("none")
        _run(mount, "true", environment={"AWS_ENDPOINT_URL_S3": relay.endpoint})
    assert bucket.get("file") == b"text\n"
    _nothing_is_left(mount)


def test_other_directories_are_as_they_were(mount):
    before = time.time()
    result = _run(mount, "sh", "-c", "pwd; id -u; touch here", cwd=str(mount.scratch))
    assert result.stdout.split() == [str(mount.scratch), str(os.geteuid())]
    assert (mount.scratch / "here").stat().st_mtime >= before - 1
    (mount.scratch / "here").unlink()


@pytest.mark.parametrize("words", [["--foreground"], ["-o", "foreground"]], ids=" ".join)
def test_nothing_runs_in_the_foreground(mount, bucket, words):
    result = mount.pail("run", *words, bucket.source, "--", "true", check=False)
    assert result.code == 2 and "--foreground" in result.stderr, str(result)
