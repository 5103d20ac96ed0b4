"""http_fetch.py: fetches connect to the checked public address only, and keep their limits of time and size."""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import pytest

from shared.adapters import http_fetch
from shared.errors import BadUrl
from tests.needed import missing

pytestmark = pytest.mark.slow

PUBLIC = "93.184.216.34"


class Handler(BaseHTTPRequestHandler):
    """A server with one path for each kind of behaviour."""

    seen: list[tuple[str, dict[str, str], bytes]]
    stopped: threading.Event

    def do_GET(self) -> None:
        self.seen.append((self.path, dict(self.headers), b""))
        name, _, rest = self.path[1:].partition("/")
        getattr(self, f"answer_{name}")(rest)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, dict(self.headers), body))
        name, _, rest = self.path[1:].partition("/")
        getattr(self, f"answer_{name}")(rest)

    def answer_bytes(self, count: str) -> None:
        self.head(200, {"Content-Length": count})
        self.wfile.write(b"x" * int(count))

    def answer_status(self, status: str) -> None:
        self.head(int(status[:3]), {})
        self.wfile.write(b"secret")

    def answer_to(self, target: str) -> None:
        self.head(302, {"Location": target})

    def answer_away(self, name: str) -> None:
        self.head(302, {"Location": f"/status/404/{bytes.fromhex(name).decode('latin-1')}"})

    def answer_squeezed(self, _: str) -> None:
        self.head(200, {"Content-Encoding": "gzip"})

    def answer_endless(self, _: str) -> None:
        self.head(200, {})
        while not self.stopped.is_set():
            self.wfile.write(b"x" * 10_000)

    def answer_drip(self, _: str) -> None:
        self.head(200, {"Content-Length": "1000"})
        while not self.stopped.wait(0.02):
            self.wfile.write(b"x")

    def answer_dripping_head(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.stopped.wait(0.02):
            self.wfile.write(b"x")

    def answer_hush(self, _: str) -> None:
        self.head(200, {"Content-Length": "1000"})
        self.stopped.wait()

    def answer_hush_before_head(self, _: str) -> None:
        self.stopped.wait()

    def answer_busy(self, seconds: str) -> None:
        self.head(503, {"Retry-After": seconds})

    def answer_nothing(self, _: str) -> None:
        self.close_connection = True

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server:
    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.stopped = threading.Event()
        handler = type("Bound", (Handler,), {"seen": self.seen, "stopped": self.stopped})
        self.http = QuietServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def stop(self) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Write no traceback: these tests close connections early."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def get(url: str, *, max_bytes: int = 100_000, timeout: float = 5.0, allow_private: bool = True) -> bytes:
    return http_fetch.fetch(url, max_bytes=max_bytes, timeout=timeout, allow_private=allow_private)


def post(
    url: str, headers: dict[str, str] | None = None, *, timeout: float = 5.0, connect: float = 5.0,
    silence: float = 5.0, allow_private: bool = True,
) -> tuple[int, str]:  # fmt: skip
    return http_fetch.post(
        url, b"{}", headers or {}, timeout=timeout, connect=connect, silence=silence, allow_private=allow_private
    )


def test_a_body_comes_back_as_sent(server: Server) -> None:
    assert get(server.url("bytes/1000")) == b"x" * 1000
    headers = server.seen[0][1]
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["Accept-Encoding"] == "identity"


def test_path_and_query_arrive_escaped_once(server: Server) -> None:
    with pytest.raises(BadUrl, match="404"):
        get(f" {server.url('status/404/é/%20 ?q=ü%2F +&r=1#fragment')}\n")
    assert server.seen[0][0] == "/status/404/%C3%A9/%20%20?q=%C3%BC%2F%20+&r=1"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "3fff::1",
    ],
)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not http_fetch.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700:4700::1111", "2001:4860:4860::8888"])
def test_a_public_address_is_known(address: str) -> None:
    assert http_fetch.is_public(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "017700000001", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_no_spelling_of_this_machine_is_fetched(server: Server, host: str) -> None:
    with pytest.raises(BadUrl, match="not on the public internet"):
        get(f"http://{host}:{server.port}/bytes/10", allow_private=False)
    with pytest.raises(BadUrl, match="not on the public internet"):
        post(f"http://{host}:{server.port}/bytes/10", allow_private=False)
    with pytest.raises(BadUrl, match="not on the public internet"):
        http_fetch.check_url(f"http://{host}:{server.port}/bytes/10", allow_private=False)
    assert not server.seen


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://example.com/a", "Only http and https"),
        ("file:///etc/passwd", "Only http and https"),
        ("a.jpg", "Only http and https"),
        ("", "Only http and https"),
        ("http://", "needs a host"),
        ("http:///a", "needs a host"),
        ("http://exa mple.com/a", "without spaces"),
        ("http://example.com/a\r\nHost: b", "must not contain line breaks"),
        ("http://example.com/a\tb", "must not contain line breaks"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://example.com:99999/", "cannot be read"),
        ("http://example.com:x/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://" + "a" * 64 + ".com/", "cannot be read"),
        ("http://a..b/", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, complaint: str) -> None:
    with pytest.raises(BadUrl, match=complaint):
        get(url)
    with pytest.raises(BadUrl, match=complaint):
        http_fetch.check_url(url, allow_private=True)


def test_an_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(BadUrl, match=r"'nowhere\.example' of the URL is not known"):
        get("http://nowhere.example/")


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Let DNS give these answers, one per query; a further query fails the test."""
    waiting = iter(answers)

    def answer(_: str, port: int, *__: object, **___: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(waiting)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, [PUBLIC, "10.0.0.1"])
    with pytest.raises(BadUrl, match="not on the public internet"):
        get("http://rebinding.example/", allow_private=False)


def test_the_connection_goes_to_the_address_that_was_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second question would be answered otherwise; a client that asked again would end up elsewhere.
    connected = []
    real = httpcore.SyncBackend.connect_tcp

    def connect(self: Any, host: str, *args: Any) -> object:
        connected.append(host)
        return real(self, "127.0.0.1", *args)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
    assert get(f"http://rebinding.example:{server.port}/bytes/3", allow_private=False) == b"xxx"
    assert connected == [PUBLIC]
    assert server.seen[0][1]["Host"] == f"rebinding.example:{server.port}"


def test_redirects_are_followed_three_times(server: Server) -> None:
    assert get(server.url("to//to//to//bytes/3")) == b"xxx"
    with pytest.raises(BadUrl, match="more than 3 times"):
        get(server.url("to//to//to//to//bytes/3"))


@pytest.mark.parametrize("letters", ["möwe 1", "m\udcf6we 1"], ids=["UTF-8", "Latin-1"])
def test_a_redirect_whose_letters_are_not_escaped_is_followed(server: Server, letters: str) -> None:
    with pytest.raises(BadUrl, match="404"):
        get(server.url(f"away/{letters.encode('utf-8', 'surrogateescape').hex()}"))
    assert server.seen[1][0] == "/status/404/m%C3%B6we%201"


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("http://127.0.0.2/secret", "not on the public internet"),
        ("http://169.254.169.254/latest/meta-data", "not on the public internet"),
        ("file:///etc/passwd", "Only http and https"),
    ],
)
def test_a_redirect_is_checked_like_the_first_url(
    server: Server, monkeypatch: pytest.MonkeyPatch, target: str, complaint: str
) -> None:
    real = http_fetch.is_public
    monkeypatch.setattr(http_fetch, "is_public", lambda address: address == "127.0.0.1" or real(address))
    with pytest.raises(BadUrl, match=complaint):
        get(server.url("to/" + target), allow_private=False)
    assert len(server.seen) == 1


def test_a_declared_and_an_endless_body_are_both_cut_at_the_limit(server: Server) -> None:
    assert len(get(server.url("bytes/50000"), max_bytes=50_000)) == 50_000
    for path in ("bytes/50001", "endless"):
        with pytest.raises(BadUrl, match=r"more than the allowed 48.8 KiB \(50,000 bytes\)"):
            get(server.url(path), max_bytes=50_000)


@pytest.mark.parametrize("path", ["drip", "dripping_head"])
def test_a_server_that_drips_is_cut_at_the_whole_time(server: Server, path: str) -> None:
    with pytest.raises(BadUrl, match="in time"):
        get(server.url(path), timeout=0.3)


def get_to(file: io.BytesIO, url: str, on_progress: Callable[[int, int], None], **about: Any) -> None:
    bounds = {"max_bytes": 100_000, "timeout": 5.0, "allow_private": True} | about
    http_fetch.fetch_to(url, file, on_progress=on_progress, **bounds)


def test_an_archive_is_written_as_it_comes_and_its_progress_is_reported(server: Server) -> None:
    file, reports = io.BytesIO(), []
    get_to(file, server.url("to//bytes/90000"), lambda *progress: reports.append(progress))
    assert file.getvalue() == b"x" * 90_000
    assert reports[-1] == (90_000, 90_000)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_an_archive_is_bounded_and_guarded_like_a_picture(server: Server) -> None:
    for about, path, says in (
        ({"max_bytes": 50_000}, "endless", r"more than the allowed 48.8 KiB \(50,000 bytes\). Give a smaller archive"),
        ({"timeout": 0.3}, "drip", "in time"),
        ({"allow_private": False}, "bytes/1", "not on the public internet"),
        ({}, "status/403", "status 403 instead of the archive"),
        ({}, "squeezed", "compressed"),
        ({}, "to//to//to//to//bytes/1", "more than 3 times"),
    ):
        with pytest.raises(BadUrl, match=says):
            get_to(io.BytesIO(), server.url(path), lambda *_: None, **about)


SLOW = [("drip", "less than 65536"), ("dripping_head", "in time"), ("hush", "in time")]


@pytest.mark.parametrize(("path", "says"), SLOW)
def test_an_archive_that_comes_too_slowly_is_given_up_long_before_its_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: str, says: str
) -> None:
    monkeypatch.setattr(http_fetch, "STALLED", 0.2)
    with pytest.raises(BadUrl, match=says):
        get_to(io.BytesIO(), server.url(path), lambda *_: None, timeout=3600.0)


def test_a_receiver_that_takes_its_time_is_not_the_hosts_fault(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_fetch, "STALLED", 0.2)
    file = io.BytesIO()

    def slowly(*_: int) -> None:
        threading.Event().wait(0.3)

    get_to(file, server.url("bytes/99999"), slowly)
    assert len(file.getvalue()) == 99_999


def test_the_progress_callback_can_end_the_download(server: Server) -> None:
    totals = []

    def enough(done: int, total: int) -> None:
        totals.append(total)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        get_to(io.BytesIO(), server.url("endless"), enough)
    assert totals == [0]


def test_a_name_server_that_does_not_answer_is_cut_at_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(30) and [])
    with pytest.raises(BadUrl, match="in time"):
        get("http://slow.example/", timeout=0.1)
    released.set()


def test_a_refusing_status_is_reported_without_its_body(server: Server) -> None:
    with pytest.raises(BadUrl, match="status 403") as caught:
        get(server.url("status/403"))
    assert "secret" not in caught.value.message


def test_compressed_content_that_was_not_asked_for_is_refused(server: Server) -> None:
    with pytest.raises(BadUrl, match="compressed"):
        get(server.url("squeezed"))


def test_a_host_that_hangs_up_or_is_not_there_is_a_bad_url(server: Server) -> None:
    with pytest.raises(BadUrl, match="cannot be reached properly"):
        get(server.url("nothing"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BadUrl, match="cannot be reached properly"):
        get(f"http://127.0.0.1:{port}/")


def test_a_post_sends_body_and_headers_and_follows_nothing(server: Server) -> None:
    headers = {"Content-Type": "application/json", "X-Signature": "abc"}
    assert post(server.url("bytes/1"), headers) == (200, "")
    assert post(server.url("status/500"), headers) == (500, "")
    assert post(server.url("to//bytes/1"), headers) == (302, "")
    assert [path for path, _, _ in server.seen] == ["/bytes/1", "/status/500", "/to//bytes/1"]
    _, sent, body = server.seen[0]
    assert body == b"{}"
    assert sent["X-Signature"] == "abc"


def test_a_post_returns_when_the_host_wants_the_next(server: Server) -> None:
    assert post(server.url("busy/120")) == (503, "120")


def test_a_post_waits_for_no_silent_host_and_no_slow_one(server: Server) -> None:
    with pytest.raises(BadUrl, match="did not answer completely in time"):
        post(server.url("hush_before_head"), timeout=60.0, silence=0.3)
    with pytest.raises(BadUrl, match="did not answer completely in time"):
        post(server.url("dripping_head"), timeout=0.5, silence=60.0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_post_waits_for_no_connection_that_is_not_made(scheme: str) -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0 if scheme == "http" else 5)  # one that connects for TLS is then not answered
        first.connect(deaf.getsockname())  # the queue of connections to accept is full
        with pytest.raises(BadUrl, match="did not answer completely in time"):
            post(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}/", timeout=60.0, silence=60.0, connect=0.3)


def test_tls_asks_for_the_certificate_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (openssl := shutil.which("openssl")):
        missing("the command openssl, which makes a certificate,")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(context)
    try:
        with pytest.raises(BadUrl, match="certificate verify failed"):
            get(f"https://localhost:{server.port}/bytes/3")
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(http_fetch, "_tls", lambda: trusting)
        assert get(f"https://localhost:{server.port}/bytes/3") == b"xxx"
        with pytest.raises(BadUrl, match="certificate verify failed"):
            get(f"https://127.0.0.1:{server.port}/bytes/3")
    finally:
        server.stop()
