"""The suite's own tools: a fault that is not there would make its tests pass for nothing."""

import os
import socket
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError
from harness import mount_table
from harness.fakes import Relay, black_hole, canned_s3, closed_port, error_body
from harness.holders import WAYS, holding
from harness.processes import Forked, in_parallel, run
from harness.servers import Bucket, Server

pytestmark = [pytest.mark.unmounted, pytest.mark.first_server, pytest.mark.first_user]


@pytest.mark.needs("s3")
def test_relay(mount, bucket):
    with Relay(bucket.server.endpoint) as relay:
        server = bucket.server
        relayed = Server("relay", relay.endpoint, server.access_key, server.secret_key)
        through = Bucket(relayed, bucket.name, bucket.prefix)
        through.put("a b+c", b"text" * 100_000)
        assert through.get("a b+c") == bucket.get("a b+c") == b"text" * 100_000
        assert through.get("a b+c", Range="bytes=4-7") == b"text" and through.head("a b+c")["ContentLength"] == 400_000
        relay.set("deny uploads")
        with pytest.raises(ClientError, match="AccessDenied"):
            through.put("denied", b"x")
        assert through.exists("a b+c")
        relay.set("hold uploads")
        held = Forked(lambda: through.put("held", b"x") and None)
        time.sleep(0.5)
        assert not bucket.exists("held") and through.exists("a b+c")
        relay.set("none")
        held.result()
        assert bucket.exists("held"), "the client's own retry has put it"
        relay.set("stop")
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            urllib.request.urlopen(relay.endpoint, timeout=1)
        relay.set("busy")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(relay.endpoint, timeout=5)


def test_black_holes(mount):
    with black_hole() as endpoint, socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 2) as made:
        made.settimeout(0.5)
        made.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            made.recv(1)
    with black_hole(connects=False) as endpoint, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port()), 2)


def test_canned_answers(mount):
    with canned_s3(lambda *_: (400, {}, error_body("ExpiredToken", "Said by the test."))) as endpoint:
        bucket = Bucket(Server("canned", endpoint, "key", "secret"), "bucket", "")
        with pytest.raises(ClientError, match="ExpiredToken"):
            bucket.get("key")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 2)


@pytest.mark.actors("root")
@pytest.mark.parametrize("way", WAYS)
def test_holders_hold(mount, mnt, way):
    run("mount", "-t", "tmpfs", "none", mnt)
    with holding(way, mnt, 600):
        assert "busy" in run("umount", mnt, check=False).stderr
    run("umount", mnt)
    assert not mount_table.at(mnt)


def test_forks(mount):
    assert in_parallel(lambda: 1, os.getpid)[0] == 1
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        Forked(lambda: 1 // 0).result()
    with pytest.raises(AssertionError, match="no answer"):
        Forked(time.sleep, 60).result(0.2)
