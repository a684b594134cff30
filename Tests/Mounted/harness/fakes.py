"""Servers that fail on purpose: a port that never answers, an S3 of canned answers, a relay with faults."""

import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .processes import Forked, wait_for


def closed_port():
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def black_hole(connects=True):
    """Yields the URL of a port that never answers. With `connects` False, not even the connection is made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64 if connects else 0)
        waiting = []
        if not connects:
            # The kernel drops the SYN of whoever comes once the queue is full.
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                waiting.append(filler)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


def error_body(code, message, **more):
    """An S3 error document."""
    extra = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return (f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message>{extra}'
            "<RequestId>TESTREQUEST0001</RequestId><HostId>test</HostId></Error>").encode()


EMPTY_LISTING = (b'<?xml version="1.0" encoding="UTF-8"?>'
                 b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
                 b"<Prefix></Prefix>"
                 b"<KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>")


@contextmanager
def canned_s3(answer):
    """An S3 endpoint where `answer(method, path, headers)` gives (status, headers, body). Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self.command, self.path, self.headers)
            _reply(self, status, headers, body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Relay:
    """An HTTP relay in a process of its own, between a mount and a server. Faults are switched while it runs.

    Faults: "none"; "hold uploads" (no answer to PUT and POST); "deny uploads" (403 to PUT and POST);
    "deny all" (403 to everything); "busy" (503 to everything); "stop" (the process is stopped:
    connections are made, nothing is ever answered); "slow uploads" (each PUT waits a second).
    """

    def __init__(self, upstream):
        self._upstream = urllib.parse.urlsplit(upstream)
        self._fault_read, self._fault_write = os.pipe()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._process = Forked(self._serve)
        self._stopped = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._listener.close()

    def set(self, fault):
        """Switches the fault; it holds for every request that comes afterwards."""
        if self._stopped:
            os.kill(self._process.pid, signal.SIGCONT)
            self._stopped = False
        if fault == "stop":
            os.kill(self._process.pid, signal.SIGSTOP)
            self._stopped = True
            return
        os.write(self._fault_write, fault.encode() + b"\n")
        wait_for(lambda: self._told() == fault, 5, f"relay set to {fault}")

    def requests(self):
        """The requests of the mount since the last call: dictionaries of `method`, `path`, `range` and `bytes` (of the
        answer's body; 0 while it is under way)."""
        return json.loads(self._ask("/-relay-requests-"))

    def _told(self):
        return self._ask("/-relay-fault-")

    def _ask(self, path):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    def _serve(self):
        relay, state = self, {"fault": "none", "requests": []}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.upstream = http.client.HTTPConnection(relay._upstream.netloc, timeout=120)

            def finish(self):
                self.upstream.close()
                super().finish()

            def _relay(self):
                if self.path == "/-relay-fault-":
                    return _reply(self, 200, {}, state["fault"].encode())
                if self.path == "/-relay-requests-":
                    seen, state["requests"] = state["requests"], []
                    return _reply(self, 200, {}, json.dumps(seen).encode())
                record = {"method": self.command, "path": self.path, "range": self.headers.get("Range"), "bytes": 0}
                state["requests"].append(record)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self._faulty():
                    return None
                # The Host header stays as it was signed.
                self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        self.upstream.putheader(name, value)
                self.upstream.endheaders(body if body else None)
                answer = self.upstream.getresponse()
                headers = {name: value for name, value in answer.getheaders()
                           if name.lower() not in ("connection", "transfer-encoding", "keep-alive")}
                content = answer.read()
                record["bytes"] = len(content)
                return _reply(self, answer.status, headers, content)

            def _faulty(self):
                uploads = self.command in ("PUT", "POST")
                denied = error_body("AccessDenied", "Access Denied by the relay")
                if state["fault"] == "hold uploads" and uploads:
                    while state["fault"] == "hold uploads":
                        time.sleep(0.05)
                    self.close_connection = True
                    return True
                if state["fault"] == "slow uploads" and uploads:
                    time.sleep(1)
                if state["fault"] == "busy":
                    _reply(self, 503, {}, error_body("SlowDown", "Please reduce your request rate."))
                    return True
                # Only reads of an object's bytes carry it.
                if state["fault"] == "deny reads" and self.command == "GET" and self.headers.get("If-Match"):
                    _reply(self, 403, {}, denied)
                    return True
                if state["fault"] == "deny all" or state["fault"] == "deny uploads" and uploads:
                    _reply(self, 403, {}, denied)
                    return True
                return False

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def server_bind(self):
                self.socket.close()
                self.socket = relay._listener
                self.server_address = self.socket.getsockname()

            def server_activate(self):
                pass

            def handle_error(self, *_):
                pass  # a client that went away

        def follow():
            with os.fdopen(relay._fault_read) as faults:
                for line in faults:
                    state["fault"] = line.strip()

        threading.Thread(target=follow, daemon=True).start()
        Server(("127.0.0.1", 0), Handler, bind_and_activate=True).serve_forever()


def _reply(handler, status, headers, body):
    """Writes one answer; `Content-Length` of a HEAD is the server's own."""
    handler.send_response_only(status)
    lengths = [value for name, value in headers.items() if name.lower() == "content-length"]
    for name, value in headers.items():
        if name.lower() != "content-length":
            handler.send_header(name, value)
    if status != 204 and status != 304:
        head = handler.command == "HEAD"
        handler.send_header("Content-Length", lengths[0] if head and lengths else str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD" and status not in (204, 304):
        handler.wfile.write(body)
