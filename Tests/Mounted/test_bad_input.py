"""What cannot be mounted: one line that says why and what to do, the right exit code, and nothing left behind."""

import os
import subprocess
import time

import pytest
from harness import mount_table
from harness.counting import counting_relay
from harness.fakes import EMPTY_LISTING, black_hole, canned_s3, closed_port, error_body
from harness.processes import Forked, run, wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server]

#: The longest that a failing `pail mount` may take, in seconds.
FAILURE_MAX = 10


def refused(mount, *options, source=None, path=None, environment=None, code=1):
    """Runs a `pail mount` that must fail with `code`, in time, in one line, and without a trace. Returns the line."""
    path = path or mount.path
    before = os.path.isdir(path) and os.listdir(path)
    result = mount.pail("mount", *options, source or mount.bucket.source, path, check=False, timeout=40,
                        environment=environment)
    return _judge(mount, result, path, before, code)


def _judge(mount, result, path, before, code):
    assert result.code == code, str(result)
    assert result.seconds < FAILURE_MAX, str(result)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines and (code != 1 or len(lines) == 1) and lines[0].startswith(("pail: ", "Error: ")), str(result)
    assert "Fatal error" not in result.stderr and mount.bucket.server.secret_key not in result.output, str(result)
    assert not mount_table.at(path), "a mount is left"
    assert (os.path.isdir(path) and os.listdir(path)) == before
    wait_for(lambda: not mount.daemons(), 10, "no process is left")
    return result.stderr


# MARK: the server


def test_wrong_secret(mount):
    said = refused(mount, environment={"AWS_SECRET_ACCESS_KEY": "wrongwrongwrong"})
    assert "SignatureDoesNotMatch" in said


def test_wrong_access_key(mount):
    said = refused(mount, environment={"AWS_ACCESS_KEY_ID": "NOSUCHKEY"})
    assert "InvalidAccessKeyId" in said


def test_missing_bucket(mount):
    said = refused(mount, source="s3://pail-no-such-bucket-here")
    assert "NoSuchBucket" in said and "pail-no-such-bucket-here" in said


def test_a_directory_bucket(mount):
    """By its name, before AWS is asked; elsewhere the name says nothing."""
    said = refused(mount, source="s3://data--usw2-az1--x-s3", environment={"AWS_ENDPOINT_URL_S3": None})
    assert "directory bucket" in said
    said = refused(mount, source="s3://data--usw2-az1--x-s3")
    assert "NoSuchBucket" in said


def test_no_signature_on_a_private_bucket(mount):
    said = refused(mount, "--no-sign-request")
    assert "AccessDenied" in said


def test_closed_port(mount):
    port = closed_port()
    said = refused(mount, "--endpoint", f"http://127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in said and "refused" in said.lower()


@pytest.mark.parametrize("connects", [True, False], ids=["silent", "no connection"])
def test_black_hole(mount, connects):
    with black_hole(connects) as endpoint:
        said = refused(mount, "--endpoint", endpoint)
        assert endpoint.removeprefix("http://") in said


def test_unresolvable_host(mount):
    said = refused(mount, "--endpoint", "http://pail-no-such-host.invalid:9000")
    assert "pail-no-such-host.invalid" in said


def test_plain_http_behind_an_https_endpoint(mount):
    with canned_s3(lambda *_: (200, {}, EMPTY_LISTING)) as endpoint:
        said = refused(mount, "--endpoint", endpoint.replace("http:", "https:"))
        assert endpoint.removeprefix("http://") in said


def test_not_an_s3_server(mount):
    with canned_s3(lambda *_: (404, {"Content-Type": "text/html"}, b"<html><body>Not here</body></html>")) as endpoint:
        said = refused(mount, "--endpoint", endpoint)
        assert "404" in said


def test_a_web_page_is_not_a_listing(mount):
    with canned_s3(lambda *_: (200, {"Content-Type": "text/html"}, b"<html><body>Welcome</body></html>")) as endpoint:
        refused(mount, "--endpoint", endpoint)


@pytest.mark.parametrize(("status", "code"), [
    (400, "ExpiredToken"), (403, "AccessDenied"), (403, "RequestTimeTooSkewed"), (403, "InvalidAccessKeyId"),
    (503, "SlowDown"), (500, "InternalError"),
])
def test_the_code_of_the_server_is_told(mount, status, code):
    with canned_s3(lambda *_: (status, {"Content-Type": "application/xml"},
                               error_body(code, "Said by the test."))) as endpoint:
        said = refused(mount, "--endpoint", endpoint, environment={"AWS_SESSION_TOKEN": "token"})
        assert code in said


def test_wrong_region_that_the_server_corrects(mount, mnt):
    """As AWS answers: the right region is in the error. Either it is followed, or it is named."""
    body = error_body("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-central-1'",
                      Region="eu-central-1")

    def answer(_method, _path, headers):
        if "/eu-central-1/s3/" in headers.get("Authorization", ""):
            return 200, {"Content-Type": "application/xml"}, EMPTY_LISTING
        return 400, {"x-amz-bucket-region": "eu-central-1"}, body

    with canned_s3(answer) as endpoint:
        result = mount.pail("mount", "--endpoint", endpoint, "--region", "us-east-1", "s3://bucket", mnt, check=False)
        if result.code == 0:
            assert os.listdir(mnt) == []
            mount.pail("umount", mnt)
        else:
            assert "eu-central-1" in _judge(mount, result, mnt, [], 1)


def test_wrong_region_that_stays_wrong(mount):
    body = error_body("AuthorizationHeaderMalformed", "the region is wrong; expecting 'eu-central-1'",
                      Region="eu-central-1")
    with canned_s3(lambda *_: (400, {"x-amz-bucket-region": "eu-central-1"}, body)) as endpoint:
        said = refused(mount, "--endpoint", endpoint, "--region", "us-east-1")
        assert "eu-central-1" in said or "AuthorizationHeaderMalformed" in said


# MARK: the mountpoint


def test_mountpoint_is_not_empty(mount, mnt):
    (mnt / "entry").write_text("mine")
    said = refused(mount)
    assert str(mnt) in said and "not empty" in said
    assert (mnt / "entry").read_text() == "mine"


def test_mountpoint_is_missing(mount):
    missing = mount.directory / "missing"
    said = refused(mount, path=missing)
    assert str(missing) in said and not missing.exists()


def test_mountpoint_is_a_file(mount):
    file = mount.directory / "file"
    file.write_text("text")
    said = refused(mount, path=file)
    assert str(file) in said and "not a directory" in said and file.read_text() == "text"


@pytest.mark.actors("user")
def test_mountpoint_of_another_user(mount):
    said = refused(mount, path="/opt")
    assert "/opt" in said


def test_already_mounted(mount, mnt):
    mount.bucket.put("file", b"text")
    mount.start()
    result = mount.pail("mount", mount.bucket.source, mnt, check=False)
    assert result.code == 1 and str(mnt) in result.stderr and "mounted" in result.stderr, str(result)
    assert len(mount_table.at(mnt)) == 1 and (mnt / "file").read_text() == "text"
    mount.stop()


# MARK: the machine


@pytest.mark.actors("root")
def test_fuse_device_is_missing(mount, mnt):
    said = _in_a_bare_dev(mount, [])
    assert "/dev/fuse" in said


@pytest.mark.actors("root")
def test_fuse_device_is_closed_to_users(mount, request):
    ordinary = request.config.pail.actor("user")
    ordinary.owns(mount.directory, mount.path, mount.scratch, mount.home, mount.state, mount.cache, mount.runtime)
    said = _in_a_bare_dev(mount, ["mknod -m 600 /dev/fuse c 10 229"],
                          ["setpriv", f"--reuid={ordinary.uid}", f"--regid={ordinary.gid}", "--clear-groups"])
    assert "/dev/fuse" in said


@pytest.mark.actors("user")
@pytest.mark.parametrize("option", ["--allow-other", "--allow-root"])
def test_allow_other_without_leave(mount, option):
    with open("/etc/fuse.conf") as file:
        if any(line.strip() == "user_allow_other" for line in file):
            pytest.skip("user_allow_other is set on this machine")
    said = refused(mount, option)
    assert "user_allow_other" in said and "/etc/fuse.conf" in said


def test_state_directory_cannot_be_made(mount):
    (mount.directory / "file").touch()
    said = refused(mount, "--state-dir", mount.directory / "file" / "state")
    assert str(mount.directory / "file") in said


def _in_a_bare_dev(mount, more, prefix=()):
    """Runs `pail mount` where /dev holds nothing but the harmless devices and what `more` makes."""
    nodes = ["mknod -m 666 /dev/null c 1 3", "mknod -m 666 /dev/zero c 1 5", "mknod -m 666 /dev/urandom c 1 9",
             "mknod -m 666 /dev/random c 1 8", *more]
    script = "mount -t tmpfs none /dev && " + " && ".join(nodes) + ' && exec "$@"'
    result = run("unshare", "--mount", "sh", "-c", script, "sh", *prefix, mount.tool.program, "mount",
                 mount.bucket.source, mount.path, check=False, env=mount.environment)
    return _judge(mount, result, mount.path, [], 1)


# MARK: credentials

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def test_no_credentials_at_all(mount):
    said = refused(mount, environment=NO_KEYS)
    for place in ("AWS_ACCESS_KEY_ID", ".aws/credentials", "--no-sign-request"):
        assert place in said


def test_half_the_credentials(mount):
    said = refused(mount, environment={"AWS_SECRET_ACCESS_KEY": None})
    assert "AWS_SECRET_ACCESS_KEY" in said


@pytest.mark.actors("user")
def test_unreadable_credentials_file(mount):
    file = _credentials(mount, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    file.chmod(0o000)
    said = refused(mount, environment=NO_KEYS)
    assert str(file) in said and "denied" in said.lower()


@pytest.mark.parametrize("text", ["this is no credentials file\n", "[default\naws_access_key_id = a\n",
                                  "[default]\naws_access_key_id = a\n", b"\xff\xfe\x00binary\n"],
                         ids=["prose", "open bracket", "no secret", "binary"])
def test_malformed_credentials_file(mount, text):
    file = _credentials(mount, text)
    said = refused(mount, environment=NO_KEYS)
    assert str(file) in said


def test_missing_profile(mount):
    _credentials(mount, "[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    said = refused(mount, "--profile", "nosuchprofile", environment=NO_KEYS)
    assert "nosuchprofile" in said


def _credentials(mount, text):
    directory = mount.home / ".aws"
    directory.mkdir()
    (directory / "credentials").write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory / "credentials"


# MARK: options


@pytest.mark.parametrize(("options", "named"), [
    (["--memory", "banana"], "banana"), (["--memory=-5"], "memory"), (["--staging-size", "10X"], "10X"),
    (["--part-size", ""], "part-size"), (["--ttl", "soon"], "soon"), (["--bogus"], "--bogus"),
    (["-o", "bogus=1"], "bogus"), (["--umask", "999"], "999"), (["--file-mode", "rw"], "rw"),
    (["--addressing", "sideways"], "sideways"), (["--connections", "0"], "0"),
    (["--endpoint", "not a url"], "--endpoint"), (["--endpoint", "ftp://127.0.0.1"], "--endpoint"),
    (["--log-level", "shouting"], "shouting"),
    (["--attributes", "some"], "some"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_malformed_options(mount, options, named):
    assert named in refused(mount, *options, code=2)


@pytest.mark.parametrize("source", ["s3://Bad_Bucket!", "s3://", "http://bucket", "s3:///prefix", ""])
def test_malformed_source(mount, source):
    result = mount.pail("mount", source, mount.path, check=False, timeout=20)
    if source == "s3://" and result.code == 0:
        mount.pail("umount", mount.path)  # every bucket as a directory, once there is that
        return
    _judge(mount, result, mount.path, [], result.code)
    assert result.code in (1, 2)


def test_two_buckets(mount):
    refused(mount, "s3://another", code=2)


# MARK: interruption


def test_interrupted_while_it_waits(mount, mnt):
    """Ctrl-C of a mount that waits for a server ends it at once, daemon included."""
    with black_hole() as endpoint:
        process = subprocess.Popen([mount.tool.program, "mount", "--endpoint", endpoint, mount.bucket.source, str(mnt)],
                                   env=mount.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        process.send_signal(2)
        assert process.wait(5) != 0
        wait_for(lambda: not mount.daemons(), 20, "no process is left")
    assert not mount_table.at(mnt)


@pytest.mark.parametrize("other", ["fails", "is late"])
def test_of_two_mounts_at_once_one_stays(mount, mnt, bucket, other):
    """Whoever comes second, or cannot mount at all, leaves the mount of the other alone."""
    bucket.put("file", b"text")
    with black_hole() as nowhere, counting_relay(bucket.server.endpoint, latency_ms=2000) as late:
        endpoint = nowhere if other == "fails" else late.endpoint
        second = Forked(lambda: mount.pail("mount", "--endpoint", endpoint, bucket.source, mnt, check=False))
        wait_for(mount.daemons, 10, "the second daemon")
        mount.start()
        result = second.result()
        assert result.code == 1 and "cannot mount" in result.stderr, str(result)
        assert len(mount_table.at(mnt)) == 1 and (mnt / "file").read_text() == "text"
        assert mount.status()["pid"] == mount.daemon()
    mount.stop()
