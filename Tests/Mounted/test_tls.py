"""https with an authority of one's own: everything works, by HTTP/1.1, and sessions are used again."""

import os

import pytest
from harness.content import pattern, sha256_of, write_large
from harness.tls import TLSFront

pytestmark = [pytest.mark.needs("pail"), pytest.mark.unmounted, pytest.mark.first_server]


def test_a_mount_over_tls(mount, bucket, scratch):
    # Objects of a few megabytes side by side: several connections, so that later ones can resume a session.
    bodies = {f"read/{number}": pattern(8_000_000, number) for number in range(6)}
    bucket.put_many(bodies)
    with TLSFront(bucket.server.endpoint, scratch) as front:
        mount.endpoint = front.endpoint
        refused = mount.pail("mount", bucket.source, mount.path, check=False)
        assert refused.code == 1 and "certificate" in refused.output, str(refused)
        assert "--ca-bundle" in refused.output, "it does not say what to do"

        mount.start("--ca-bundle", str(front.ca_path))
        for name, body in bodies.items():
            assert sha256_of((mount.path / name).read_bytes()) == sha256_of(body)
        digest = write_large(mount.path / "written", 20)
        descriptor = os.open(mount.path / "written", os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        assert bucket.sha256("written") == digest
        total, resumed = front.handshakes()
        print(f"{total} handshakes, {resumed} of them resumed")
        assert total > 2 and resumed >= 1, "no TLS session was used again"
        mount.compare()
