"""The command line as it is promised: mount, status, flush, doctor, help."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from harness import mount_table
from harness.content import pattern
from harness.processes import run, wait_for
from harness.servers import REGION

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server]

STATUS_FIELDS = {
    "version": str, "pid": int, "mountpoint": str, "source": str, "endpoint": str, "region": str, "started_at": str,
    "uptime_seconds": int, "state": str, "read_only": bool, "dirty_files": int, "dirty_bytes": int, "uploads": list,
    "uploads_omitted": int, "failed_uploads": int, "leftovers": list, "cache": dict, "requests": dict,
    "last_errors": list,
}
UPLOAD_FIELDS = {"path": str, "bytes_done": int, "bytes_total": int, "tries": int, "since": str}


@pytest.mark.unmounted
def test_version_and_help(mount):
    assert re.search(r"\d+\.\d+", mount.pail("--version").stdout)
    overview = mount.pail("--help").stdout
    for command in ("mount", "umount", "status", "flush", "doctor"):
        assert command in overview
        assert "--help" in mount.pail("help", command).stdout or command in mount.pail("help", command).stdout
    for option in ("--endpoint", "--region", "--profile", "--read-only", "--ttl", "--allow-other", "--write-through",
                   "--memory", "--state-dir", "--staging-size", "--log-file", "--foreground"):
        assert option in mount.pail("help", "mount").stdout, option


@pytest.mark.unmounted
@pytest.mark.parametrize("arguments", [["no-such-command"], ["mount"], ["mount", "--bogus", "s3://b", "/mnt"],
                                       ["umount"], ["umount", "--timeout", "soon", "/mnt"], ["flush"],
                                       ["mount", "s3://a", "s3://b", "/mnt"]], ids=" ".join)
def test_usage_errors(mount, arguments):
    result = mount.pail(*arguments, check=False)
    assert result.code == 2 and result.stderr.strip(), str(result)


@pytest.mark.unmounted
def test_mount_returns_when_usable(mount, mnt):
    mount.bucket.put("file", b"text")
    for _ in range(5):
        mount.start()
        assert os.listdir(mnt) == ["file"]
        mount.stop()


@pytest.mark.unmounted
def test_mount_leaves_its_caller_alone(mount, mnt):
    """The daemon keeps neither the caller's pipes open nor its directory busy, and outlives its session."""
    process = subprocess.Popen([mount.tool.program, "mount", mount.bucket.source, str(mnt)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=mount.scratch,
                               env=mount.environment)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, out
    daemon = mount.daemon()
    with open(f"/proc/{daemon}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    assert int(fields[3]) != os.getsid(0), "the daemon is in the session of its caller"
    mount.stop()


def test_secrets_are_not_shown(mount, mnt):
    (mnt / "file").write_text("text")
    mount.flush()
    secret = mount.bucket.server.secret_key
    for each in mount.daemons():
        assert secret not in each.command
    assert secret not in mount.log.read_text()
    assert secret not in mount.pail("status", "--json", mnt).output + mount.pail("status", mnt).output


@pytest.mark.unmounted
def test_foreground(mount, mnt):
    process = subprocess.Popen([mount.tool.program, "mount", "--foreground", mount.bucket.source, str(mnt)],
                               env=mount.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: mount_table.at(mnt), 10, "mounted in the foreground")
        (mnt / "file").write_text("text")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
    assert not mount_table.at(mnt) and mount.bucket.get("file") == b"text"


@pytest.mark.unmounted
@pytest.mark.parametrize("form", ["s3://NAME", "NAME", "s3://NAME/"])
def test_forms_of_the_source(mount, mnt, form):
    mount.bucket.put("file", b"text")
    name = f"{mount.bucket.name}/{mount.bucket.prefix.rstrip('/')}"
    mount.pail("mount", form.replace("NAME", name), mnt)
    assert os.listdir(mnt) == ["file"]
    mount.stop()


@pytest.mark.unmounted
def test_options_of_fstab(mount, mnt):
    server = mount.bucket.server
    mount.bucket.put("file", b"text")
    options = f"endpoint={server.endpoint},region={REGION},ttl=5,ro,_netdev,nofail,x-systemd.automount,noatime"
    mount.pail("mount", mount.bucket.source, mnt, "-o", options,
               environment={"AWS_ENDPOINT_URL_S3": None, "AWS_REGION": None})
    assert (mnt / "file").read_text() == "text" and "ro," in mount_table.at(mnt)[0].options
    mount.stop()


@pytest.mark.unmounted
@pytest.mark.parametrize("where", ["environment", "credentials", "profile", "option"])
def test_credentials(mount, mnt, where):
    server = mount.bucket.server
    mount.bucket.put("file", b"text")
    environment, options = {}, []
    if where != "environment":
        environment = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_REGION": None}
        profile = "default" if where == "credentials" else "work"
        aws = mount.home / ".aws"
        aws.mkdir()
        (aws / "credentials").write_text(
            "[other]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n\n# a comment\n"
            f"[{profile}]\naws_access_key_id = {server.access_key}\naws_secret_access_key={server.secret_key}\n")
        (aws / "config").write_text(f"[profile {profile}]\nregion = {REGION}\n" if profile != "default"
                                    else f"[default]\nregion = {REGION}\n")
        if where == "profile":
            environment["AWS_PROFILE"] = "work"
        if where == "option":
            options = ["--profile", "work"]
    mount.pail("mount", *options, mount.bucket.source, mnt, environment=environment)
    assert os.listdir(mnt) == ["file"]
    mount.stop()


@pytest.mark.mount_options("--write-through")
def test_write_through(mnt, bucket):
    (mnt / "file").write_bytes(pattern(200_000))
    assert bucket.get("file") == pattern(200_000)
    with open(mnt / "file", "ab") as file:
        file.write(b"more")
    assert bucket.get("file") == pattern(200_000) + b"more"


def test_status(mount, mnt, bucket):
    (mnt / "file").write_bytes(pattern(100_000))
    mount.flush()
    (mnt / "file").read_bytes()
    status = mount.status()
    for field, kind in STATUS_FIELDS.items():
        assert isinstance(status.get(field), kind), f"{field}: {status.get(field)!r}"
    assert status["pid"] == mount.daemon() and status["mountpoint"] == str(mnt) and status["state"] == "mounted"
    assert status["source"].rstrip("/") == bucket.source and status["endpoint"].rstrip("/") == bucket.server.endpoint
    assert status["dirty_files"] == status["dirty_bytes"] == 0 and status["uploads"] == []
    assert status["requests"] and all(each["count"] >= 0 for each in status["requests"].values())
    assert sum(each["count"] for each in status["requests"].values()) > 0
    text = mount.pail("status", mnt).stdout
    assert str(mnt) in text and bucket.source in text
    # Without a mountpoint: every mount, this one among them.
    every = json.loads(mount.pail("status", "--json").stdout)
    assert str(mnt) in [each["mountpoint"] for each in every]


@pytest.mark.unmounted
@pytest.mark.deadline(120)
def test_status_of_pending_uploads(mount, mnt):
    with mount.through_relay() as relay:
        (mnt / "first").write_text("uploaded")
        mount.flush()
        (mnt / "dir").mkdir()
        relay.set("hold uploads")
        (mnt / "dir" / "pending").write_bytes(pattern(100_000))
        status = mount.status()
        assert status["dirty_files"] >= 1 and status["dirty_bytes"] >= 100_000
        upload = next(each for each in status["uploads"] if each["path"] == "dir/pending")
        for field, kind in UPLOAD_FIELDS.items():
            assert isinstance(upload.get(field), kind), f"{field}: {upload}"
        assert upload["bytes_total"] == 100_000 and upload["bytes_done"] <= 100_000
        assert "dir/pending" in mount.pail("status", mnt).stdout

        def sending():
            found = [each for each in mount.status()["requests_under_way"] if each.get("key", "").endswith("dir/pending")]
            return [each for each in found if each["operation"] == "PutObject" and each["seconds"] > 0.2 and each["attempt"] >= 1]
        wait_for(sending, 20, "the request is told")
        failed = mount.pail("flush", "--timeout", "1", mnt, check=False)
        assert failed.code == 1 and failed.seconds < 10, str(failed)
        relay.set("none")
        mount.flush()
        assert mount.status()["uploads"] == []


@pytest.mark.unmounted
@pytest.mark.parametrize("command", ["status", "flush"])
def test_where_nothing_is_mounted(mount, mnt, command):
    result = mount.pail(command, mnt, check=False)
    assert result.code == 1 and str(mnt) in result.stderr, str(result)


def test_flush(mount, mnt, bucket):
    for index in range(10):
        (mnt / f"file{index}").write_bytes(pattern(10_000, index))
    mount.pail("flush", mnt / "file3")
    assert bucket.get("file3") == pattern(10_000, 3)
    mount.pail("flush", mnt)
    assert len(bucket.files()) == 10
    with open(mnt / "open", "wb", buffering=0) as file:
        file.write(b"still open")
        mount.pail("flush", mnt / "open")
        assert bucket.get("open") == b"still open"


@pytest.mark.unmounted
def test_doctor(mount):
    before = mount.bucket.keys()
    result = mount.pail("doctor", mount.bucket.source)
    lines = result.stdout.strip().splitlines()
    assert len(lines) >= 4 and "conditional" in result.stdout.lower(), str(result)
    assert mount.bucket.keys() == before, "doctor left objects in the bucket"
    missing = mount.pail("doctor", "s3://pail-no-such-bucket-here", check=False)
    assert missing.code == 1 and "NoSuchBucket" in missing.output, str(missing)


def test_a_second_mount_of_the_same_bucket(mount, mnt, bucket):
    """Two mounts, one state directory: each sees what the other has uploaded."""
    second = mount.directory / "second"
    second.mkdir()
    mount.pail("mount", "--ttl", "1", bucket.source, second)
    (mnt / "file").write_text("from the first")
    mount.flush()
    time.sleep(1.2)
    assert (second / "file").read_text() == "from the first"
    mount.pail("umount", second)
    run("rmdir", second)
    assert (mnt / "file").read_text() == "from the first"


@pytest.mark.actors("root")
def test_the_mounts_of_others_are_not_an_ordinary_users(mount, mnt, stranger):
    shown = run(mount.tool.program, "status", actor=stranger, env=mount.environment | {"HOME": "/nowhere"}).stdout
    assert str(mnt) not in shown and str(mnt) in mount.pail("status").stdout, shown


@pytest.mark.unmounted
def test_what_another_mount_left_is_told_until_it_is_uploaded(mount, mnt, bucket):
    """By a name that can be mounted, and the place where it was."""
    other = bucket.server.new_bucket()
    second = mount.scratch / "second"
    second.mkdir()
    try:
        with mount.through_relay(compare=False) as relay:
            (mnt / "first").write_text("uploaded")
            mount.flush()
            relay.set("hold uploads")
            (mnt / "pending").write_text("pending")
            os.kill(mount.daemon(), signal.SIGKILL)
            mount.wait_until_no_daemon()
            relay.set("none")
            mount.pail("mount", f"s3://{other}", second)

            def leftovers():
                return json.loads(mount.pail("status", "--json", second).stdout)["leftovers"]
            (left,) = leftovers()
            assert left["source"] == f"s3://{bucket.name}" and left["mountpoint"] == str(mnt), left
            assert left["endpoint"] == relay.endpoint and left["files"] == 1 and left["bytes"] == 7, left
            assert f"mount s3://{bucket.name} --endpoint {relay.endpoint}" in mount.pail("status", second).stdout
            mount.start()
            wait_for(lambda: not leftovers(), 30, "nothing is left behind")
            mount.stop()
            mount.pail("umount", second)
    finally:
        bucket.server.drop_bucket(other)
