"""SSE-C: the server encrypts by a key of the user's, which goes with each request and stays nowhere."""

import base64
import os
import signal
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from harness.content import pattern, sha256_of
from harness.processes import processes_of

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.deadline(120)]


def _key(mount, bucket):
    """A key, and the options that mount with it."""
    if "rgw" not in bucket.server.name:
        pytest.skip("this server is not known to take keys of customers over plain HTTP")
    secret = os.urandom(32)
    path = mount.scratch / "key"
    path.write_text(base64.b64encode(secret).decode() + "\n")
    path.chmod(0o600)
    return secret, ["--sse-c-key-file", str(path), "--log-level", "debug", "--log-file", str(mount.log)]


def _read(bucket, key, secret):
    return bucket.get(key, SSECustomerAlgorithm="AES256", SSECustomerKey=secret)


def test_contents_are_encrypted_by_the_key(mount, bucket):
    """Whatever makes an object, by whatever request: small, in parts, changed in a part, appended, copied, renamed."""
    secret, options = _key(mount, bucket)
    big = pattern(20 << 20, "big")
    mount.start(*options, "--part-size", "5M")
    (mount.path / "small").write_text("small")
    (mount.path / "big").write_bytes(big)
    mount.flush()
    with open(mount.path / "big", "r+b") as file:
        file.seek(6 << 20)
        file.write(b"changed")
    with open(mount.path / "small", "a") as file:
        file.write(" and more")
    (mount.path / "empty").touch()
    mount.flush()
    os.rename(mount.path / "small", mount.path / "renamed")
    os.rename(mount.path / "empty", mount.path / "nothing")
    source, target = os.open(mount.path / "big", os.O_RDONLY), os.open(mount.path / "copy", os.O_WRONLY | os.O_CREAT)
    copied = 0
    while count := os.copy_file_range(source, target, 64 << 20):
        copied += count
    os.close(source)
    os.close(target)
    os.chmod(mount.path / "big", 0o640)
    mount.flush()
    expected = {"nothing": b"", "renamed": b"small and more", "big": big[:6 << 20] + b"changed" + big[(6 << 20) + 7:]}
    expected["copy"] = expected["big"]
    assert copied == len(big)
    mount.remount(*options, "--cache-dir", str(mount.scratch / "another"))
    for name, content in expected.items():
        assert sha256_of((mount.path / name).read_bytes()) == sha256_of(content), name
        assert sha256_of(_read(bucket, name, secret)) == sha256_of(content), name
        with pytest.raises(ClientError):
            bucket.get(name)
    assert os.stat(mount.path / "big").st_mode & 0o777 == 0o640
    # Nothing that others can see has it.
    text = base64.b64encode(secret)
    shown = [mount.log.read_bytes(), mount.pail("status", "--json", mount.path).stdout.encode(),
             Path("/proc/mounts").read_bytes()]
    for process in processes_of(mount.mark, mount.directory):
        shown.append(Path(f"/proc/{process.pid}/cmdline").read_bytes())
    for parent, _, names in os.walk(mount.state):
        shown += [Path(parent, name).read_bytes() for name in names if os.path.isfile(os.path.join(parent, name))]
    assert len(shown) > 3 and not any(text in each or secret in each for each in shown)
    mount.stop()


def test_without_the_key_or_with_another(mount, bucket):
    """What cannot be read is an error, never other bytes; and a key that everybody can read is refused."""
    secret, options = _key(mount, bucket)
    mount.start(*options)
    (mount.path / "file").write_text("secret")
    mount.stop()
    bucket.put("plain", b"plain")
    other = mount.scratch / "other"
    other.write_text(os.urandom(32).hex())
    other.chmod(0o600)
    for wrong in ([], ["--sse-c-key-file", str(other)]):
        mount.start(*wrong, "--cache-dir", str(mount.scratch / f"cache{len(wrong)}"))
        with pytest.raises(OSError):
            (mount.path / "file").read_bytes()
        mount.stop()
    # What was to be encrypted waits for the key, and is told.
    with mount.through_relay(*options, compare=False) as relay:
        (mount.path / "first").write_text("uploaded")
        mount.flush()
        relay.set("hold uploads")
        (mount.path / "pending").write_text("pending")
        os.kill(mount.daemon(), signal.SIGKILL)
        mount.wait_until_no_daemon()
        relay.set("none")
        mount.start()
        (left,) = mount.status()["leftovers"]
        assert left["source"] == f"s3://{bucket.name}" and left["needs_customer_key"] and left["files"] == 1, left
        assert "with its --sse-c-key-file" in mount.pail("status", mount.path).stdout
        mount.remount(*options)
        mount.stop()
    assert _read(bucket, "pending", secret) == b"pending"
    other.chmod(0o644)
    result = mount.pail("mount", "--sse-c-key-file", other, bucket.source, mount.path, check=False)
    assert result.code == 1 and "chmod 600" in result.stderr, str(result)
