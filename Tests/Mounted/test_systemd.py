"""The units of systemd/, run by a systemd."""

import os

import pytest
from harness.content import pattern
from harness.live_systemd import LiveSystemd
from harness.processes import wait_for

pytestmark = [pytest.mark.needs("pail"), pytest.mark.first_server, pytest.mark.no_compare, pytest.mark.unmounted,
              pytest.mark.actors("root")]

UNITS = os.path.join(os.path.dirname(__file__), "..", "..", "systemd")


def _systemd(mount, mnt, bucket):
    """One with pail@.service and a mount `data`."""
    program = mount.tool.program
    with open(os.path.join(UNITS, "pail@.service")) as file:
        unit = file.read().replace("/usr/bin/pail", program)
    server = bucket.server
    configuration = f'''
[mounts.data]
source = "{bucket.source}"
mountpoint = "{mnt}"
endpoint = "{server.endpoint}"
state-dir = "{mount.scratch / 'state'}"
cache-dir = "{mount.scratch / 'cache'}"
'''
    keys = f"AWS_ACCESS_KEY_ID={server.access_key}\nAWS_SECRET_ACCESS_KEY={server.secret_key}\nAWS_REGION=us-east-1\n"
    for name in ("state", "cache"):
        (mount.scratch / name).mkdir(mode=0o700)
    # Of systemd's journal there is none.
    log = f"[Service]\nStandardError=append:{mount.scratch / 'service.log'}\n"
    return LiveSystemd(mount.scratch, {"pail@.service": unit, "pail@.service.d/log.conf": log},
                       {"pail/config.toml": configuration, "pail/data.env": keys})


def _skip_if_unavailable(systemd):
    if systemd.unavailable:
        pytest.skip(systemd.unavailable)


@pytest.mark.deadline(180)
def test_service_starts_serves_and_stops(mount, mnt, bucket):
    """Started means that files are there; stopped means that all is in S3."""
    bucket.put("in", b"there")
    with _systemd(mount, mnt, bucket) as systemd:
        _skip_if_unavailable(systemd)
        systemd.run("systemctl", "start", "pail@data")
        assert systemd.run("cat", mnt / "in").stdout == "there"
        systemd.run("bash", "-c", f"head -c 3000000 /dev/zero > '{mnt}/zeros'; echo text > '{mnt}/out'")
        systemd.run("systemctl", "stop", "pail@data")
        assert str(mnt) not in systemd.run("cat", "/proc/self/mountinfo").stdout
        state = systemd.run("systemctl", "show", "--property=Result", "--value", "pail@data").stdout.strip()
        assert state == "success", systemd.log()[-2000:]
    assert bucket.get("out") == b"text\n" and bucket.get("zeros") == bytes(3_000_000)


@pytest.mark.deadline(180)
def test_service_that_is_killed_is_back(mount, mnt, bucket):
    """Within five seconds, with what was pending."""
    with _systemd(mount, mnt, bucket) as systemd:
        _skip_if_unavailable(systemd)
        systemd.run("systemctl", "start", "pail@data")
        (mount.scratch / "data").write_bytes(pattern(5_000_000))
        # Not closed: nothing of it is in S3 yet.
        systemd.run("bash", "-c", f"exec 3> '{mnt}/pending'; cat '{mount.scratch}/data' >&3; "
                                  "kill -9 $(systemctl show --property=MainPID --value pail@data)")
        # Five on an idle machine; this one may have anything to do.
        wait_for(lambda: systemd.run("stat", mnt / "pending", check=False).code == 0, 20, "the mount to be back")
        assert systemd.main_pid("pail@data") > 0
        systemd.run("cmp", mnt / "pending", mount.scratch / "data")
        systemd.run("systemctl", "stop", "pail@data")
    assert bucket.get("pending") == pattern(5_000_000)


@pytest.mark.deadline(180)
def test_service_without_its_bucket_fails_with_a_reason(mount, mnt, bucket):
    with _systemd(mount, mnt, bucket) as systemd:
        _skip_if_unavailable(systemd)
        config = "/etc/pail/config.toml"
        systemd.run("sed", "-i", "s,s3://[^\"]*,s3://there-is-no-such-bucket-4711,", config)
        result = systemd.run("systemctl", "start", "pail@data", check=False)
        assert result.code != 0
        assert "NoSuchBucket" in (mount.scratch / "service.log").read_text()
