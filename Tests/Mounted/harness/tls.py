"""TLS in front of a server that speaks plain HTTP, with a certificate of an authority of its own."""

import os
import socket
import ssl
import subprocess
import threading
import urllib.parse
from pathlib import Path

from .processes import Forked


class TLSFront:
    """A relay in a process of its own that takes TLS off. Bytes are passed on as they are, `Host` included.

    `ca_path` is the authority to trust; `handshakes()` says how many connections there were, and how many of them
    resumed a session of an earlier one.
    """

    def __init__(self, upstream, directory):
        address = urllib.parse.urlsplit(upstream)
        self._upstream = (address.hostname, address.port)
        self._directory = Path(directory)
        self.ca_path = self._directory / "ca.pem"
        self._log = self._directory / "handshakes"
        self._log.touch()
        self._make_certificates()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._process = Forked(self._serve)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._listener.close()

    def handshakes(self):
        lines = self._log.read_text().split()
        return len(lines), lines.count("resumed")

    def _make_certificates(self):
        (self._directory / "san").write_text("subjectAltName=IP:127.0.0.1\n")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for arguments in (
            ["req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", *key],
            ["req", "-subj", "/CN=server", "-keyout", "key.pem", "-out", "csr.pem", *key],
            ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-extfile", "san", "-out", "cert.pem"],
        ):
            subprocess.run(["openssl", *arguments], cwd=self._directory, check=True, capture_output=True, timeout=30)
        self.ca_path.chmod(0o644)

    def _serve(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._directory / "cert.pem", self._directory / "key.pem")
        context.set_alpn_protocols(["h2", "http/1.1"])
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._relay, args=(context, client), daemon=True).start()

    def _relay(self, context, client):
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = context.wrap_socket(client, server_side=True)
            # This relay understands no HTTP/2 frames, nor do the servers behind it.
            assert client.selected_alpn_protocol() == "http/1.1", client.selected_alpn_protocol()
            with open(self._log, "a") as log:
                log.write("resumed\n" if client.session_reused else "new\n")
            server = socket.create_connection(self._upstream)
        except (OSError, AssertionError):
            client.close()
            return
        up = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
        up.start()
        _pass_on(server, client)
        up.join()
        client.close()
        server.close()


def _pass_on(source, sink):
    buffer = bytearray(1 << 18)
    try:
        while count := source.recv_into(buffer):
            sink.sendall(memoryview(buffer)[:count])
    except OSError:
        pass
    for each in (source, sink):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    """`python -m harness.tls UPSTREAM DIRECTORY`: a front until the end of input, for measurements by hand."""
    import sys
    with TLSFront(sys.argv[1], sys.argv[2]) as front:
        print(front.endpoint, flush=True)
        sys.stdin.read()
        print(front.handshakes(), os.times(), flush=True)


if __name__ == "__main__":
    main()
