"""HTTP requests to URLs that callers supply: public hosts only, to the address that was checked, bounded in time and
size.

    url ──> scheme, host, port ──> DNS, once ──> every address public? ──> connect to that address ──> bytes
                  ▲                                                                                │
                  └────────────────────── redirect, at most three, checked again ─────────────────┘

The check is made at the moment of connecting, not when the URL is parsed: a second DNS answer, or a URL that two
parsers read differently, cannot bypass it. Proxies from the environment are not used, since they would resolve the host
name again.
"""

from __future__ import annotations

import functools
import ipaddress
import queue
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import httpcore

from shared.domain.sizes import exactly
from shared.errors import BadUrl

MAX_REDIRECTS = 3
SLOWEST = 64 * 1024
"""Bytes per second that the host of an archive must send on average; a slower host would delay the imports that wait
behind it."""
STALLED = 30.0
"""Seconds over which SLOWEST is averaged; time spent waiting for the host counts, time spent by the receiver does not.
The response must also begin within this time."""

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)
"""Networks for protocol assignments, 6to4, Teredo and documentation, which Python 3.11 partly reports as global."""

_UNICAST = ipaddress.ip_network("2000::/3")
"""All public IPv6 addresses. IPv6 addresses outside of it that embed an IPv4 address (`::ffff:`, NAT64 and others) are
thereby refused."""


def fetch(url: str, *, max_bytes: int, timeout: float, allow_private: bool, hosts: Sequence[str] = ()) -> bytes:
    """Fetch the body of a picture's URL as it was sent; `timeout` is in seconds for the whole request. Raises BadUrl.

    `hosts`, such as `cdn.example.org` or `*.example.com`, is an allowlist: no other host is contacted, redirects
    included. An empty list allows every host.
    """
    body = bytearray()
    with _answered(url, "image/*", _deadline(timeout), allow_private, hosts) as response:
        for chunk in _body(response, max_bytes, "picture"):
            body += chunk
    return bytes(body)


def fetch_to(
    url: str, file: BinaryIO, *, max_bytes: int, timeout: float, allow_private: bool,
    on_progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Write the body of an archive's URL to `file`; `timeout` is in seconds for the whole request. Raises BadUrl.

    A host that sends fewer than SLOWEST bytes per second is given up after STALLED seconds. `on_progress` is called
    with the bytes received so far and the total, which is 0 if the host does not report it; an exception from
    `on_progress` aborts the request.
    """
    whole, begin = _deadline(timeout), _deadline(min(timeout, STALLED))
    begun = False

    def seconds_left() -> float:
        return min(whole(), STALLED) if begun else begin()

    with _answered(url, "*/*", seconds_left, allow_private) as response:
        begun = True
        length = _header(response, b"content-length")
        done, total = 0, int(length) if length.isdecimal() else 0
        for chunk in _steady(_body(response, max_bytes, "archive")):
            file.write(chunk)
            done += len(chunk)
            on_progress(done, total)


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, connect: float, silence: float,
    allow_private: bool,
) -> tuple[int, str]:  # fmt: skip
    """Send `body` by POST; return the status of the response, and its `Retry-After` or an empty string. Redirects are
    not followed. Raises BadUrl.

    `timeout` is in seconds for the whole request, `connect` for looking up the host and connecting to it, with TLS, and
    `silence` for a single wait for the host after that.
    """
    whole, connecting = _deadline(timeout), _deadline(connect)
    with _request(
        "POST", url, body, headers, lambda: min(whole(), silence), allow_private,
        connecting=lambda: min(whole(), connecting()),
    ) as response:  # fmt: skip
        return response.status, _header(response, b"retry-after")


def check_url(url: str, *, allow_private: bool, timeout: float = 5.0) -> None:
    """Raise BadUrl unless the URL can be parsed, its host resolves, and every address of the host is public."""
    parsed = _parse(url)
    _addresses(parsed.host.decode(), parsed.port or 0, _deadline(timeout), allow_private)


def is_public(address: str) -> bool:
    """Return True if an IP address belongs to one machine on the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in _REFUSED) or ip.is_multicast or not ip.is_global:
        return False
    return ip in _UNICAST if ip.version == 6 else not ip.is_reserved


def _is_listed(host: str, hosts: Sequence[str]) -> bool:
    """Return True if the host is in the allowlist. `*.example.com` matches hosts below `example.com` at any depth, but
    not `example.com` itself."""
    host = host.lower().rstrip(".")
    return any(host.endswith(name[1:]) if name.startswith("*.") else host == name for name in map(str.lower, hosts))


def _deadline(timeout: float) -> Callable[[], float]:
    """Return a function that returns the seconds left, and raises BadUrl when none are left."""
    end = time.monotonic() + timeout

    def seconds_left() -> float:
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise _late()
        return seconds

    return seconds_left


def _late() -> BadUrl:
    """Return the error for a host that did not answer completely within the time limit."""
    return BadUrl("The host behind the URL did not answer completely in time. Try again, or send the bytes themselves.")


def _parse(url: str) -> httpcore.URL:
    """Parse a URL; raises BadUrl unless it is http or https with a host and without credentials."""
    url = url.strip()
    try:
        url.encode()  # an unpaired surrogate, which JSON allows, cannot be encoded
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        # The host in its IDNA form for DNS. In the path, spaces and letters beyond ASCII are percent-encoded below, and
        # existing escapes are kept.
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise BadUrl("The URL cannot be read. Give one like https://example.com/path/file.") from None
    if parts.scheme not in ("http", "https"):
        raise BadUrl("Only http and https URLs are fetched.")
    if not host or not port or " " in parts.netloc or any(ord(letter) < 32 or ord(letter) == 127 for letter in url):
        raise BadUrl(
            "The URL needs a host, without spaces, and must not contain line breaks. Give one like "
            "https://example.com/path/file."
        )
    if "@" in parts.netloc:
        raise BadUrl("The URL must not carry a user name or password.")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return httpcore.URL(
        scheme=parts.scheme, host=host, port=port, target=urllib.parse.quote(target, safe="/%:=&?~+!$,;'@()*[]|")
    )


def _host(url: httpcore.URL) -> str:
    """Return the value of the Host header: IPv6 addresses in brackets, and no port where it is the default one."""
    host = url.host.decode()
    name = f"[{host}]" if ":" in host else host
    return name if (url.scheme, url.port) in ((b"http", 80), (b"https", 443)) else f"{name}:{url.port}"


@contextmanager
def _answered(
    url: str, accept: str, seconds_left: Callable[[], float], allow_private: bool, hosts: Sequence[str] = ()
) -> Iterator[httpcore.Response]:
    """Yield the response at the end of all redirects; each redirect target is checked like the first URL."""
    for _ in range(MAX_REDIRECTS + 1):
        if hosts and not _is_listed(_parse(url).host.decode(), hosts):
            raise BadUrl("Pictures are not fetched from that host. Send the bytes themselves.")
        with _request("GET", url, b"", {"Accept": accept}, seconds_left, allow_private) as response:
            location = _header(response, b"location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                yield response
                return
        try:
            url = urllib.parse.urljoin(url, _in_utf8(location))
        except ValueError as error:
            raise BadUrl("The URL redirects to something that is no URL. Give the final one.") from error
    raise BadUrl(f"The URL redirects more than {MAX_REDIRECTS} times. Give the final one.")


@contextmanager
def _request(
    method: str,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    seconds_left: Callable[[], float],
    allow_private: bool,
    connecting: Callable[[], float] | None = None,
) -> Iterator[httpcore.Response]:
    """Send one request over a connection to a checked address, and yield the response. Raises BadUrl.

    `connecting` returns the seconds left for the connection, by default those left for the request.
    """
    parsed = _parse(url)
    # No content encoding is accepted, so that a small compressed response cannot expand into a large one.
    sent = [("Host", _host(parsed)), ("User-Agent", "inferq"), ("Accept-Encoding", "identity"), *headers.items()]
    if body:
        sent.append(("Content-Length", str(len(body))))
    backend = _Pinned(seconds_left, connecting or seconds_left, allow_private)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend) as pool,
            pool.stream(method, parsed, headers=sent, content=body or None) as response,
        ):
            yield response
    except httpcore.TimeoutException as error:
        raise _late() from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        reason = str(error).rstrip(".")
        raise BadUrl(f"The host behind the URL cannot be reached properly ({reason}). Check the URL.") from error


def _body(response: httpcore.Response, max_bytes: int, noun: str) -> Iterator[bytes]:
    """Yield the body of a response with status 200 in chunks as they arrive; `noun` is the noun for the content in
    error messages."""
    if response.status != 200:
        raise BadUrl(f"The URL answered with status {response.status} instead of the {noun}. Check the URL.")
    if (_header(response, b"content-encoding") or "identity") != "identity":
        raise BadUrl("The URL answered with compressed content, which was not asked for. Send the bytes themselves.")
    size = 0
    for chunk in response.iter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise BadUrl(f"The URL holds more than the allowed {exactly(max_bytes)}. Give a smaller {noun}.")
        yield chunk


def _steady(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass the chunks on, and raise BadUrl when the host sends fewer than SLOWEST bytes per second over STALLED
    seconds.

    Only the time spent waiting for the host counts, not the time that the receiver takes.
    """
    waited, size = 0.0, 0
    while True:
        since = time.monotonic()
        chunk = next(chunks, b"")
        waited += time.monotonic() - since
        if not chunk:
            return
        size += len(chunk)
        if waited >= STALLED:
            if size < SLOWEST * waited:
                slow = f"The host behind the URL sends less than {SLOWEST} bytes a second."
                raise BadUrl(f"{slow} Send the bytes themselves.")
            waited, size = 0.0, 0
        yield chunk


def _header(response: httpcore.Response, name: bytes) -> str:
    """Return the value of the first header with this name, or an empty string."""
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _in_utf8(location: str) -> str:
    """Return a Location whose letters are not escaped, as they were meant: in UTF-8 if they can be."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeDecodeError:
        return location


def _addresses(host: str, port: int, seconds_left: Callable[[], float], allow_private: bool) -> list[str]:
    """Return all addresses of a host, resolved once. Raises BadUrl when any of them is not public."""
    addresses = list(dict.fromkeys(_look_up(host, port, seconds_left)))
    if not addresses:
        raise BadUrl(f"The host {host!r} of the URL is not known. Check the URL.")
    if not allow_private and not all(is_public(address) for address in addresses):
        # A private address among public ones is refused as well: that is the pattern of DNS rebinding.
        raise BadUrl(f"The host {host!r} is not on the public internet. Send the bytes themselves.")
    return addresses


def _look_up(host: str, port: int, seconds_left: Callable[[], float]) -> list[str]:
    """Resolve a host in a thread: getaddrinfo has no timeout, and the caller's name server may be slow on purpose."""
    answer: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put([str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except (OSError, ValueError, OverflowError):
            answer.put([])

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return answer.get(timeout=seconds_left())
    except queue.Empty:
        raise _late() from None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context: certificates are verified against the packaged authorities and those of this machine."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


class _Pinned(httpcore.NetworkBackend):
    """Network backend that connects to the address that was checked; TLS still verifies the certificate for the host
    name."""

    def __init__(self, seconds_left: Callable[[], float], connecting: Callable[[], float], allow_private: bool) -> None:
        self._left = seconds_left
        self._connecting = connecting
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # part of httpcore's signature; the time left is used instead
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in _addresses(host, port, self._connecting, self._allow_private):
            try:
                seconds = self._connecting()
                stream = httpcore.SyncBackend().connect_tcp(address, port, seconds, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _Timed(stream, self._left, self._connecting)
        raise failure


class _Timed(httpcore.NetworkStream):
    """Network stream that limits every operation to the time left of the whole request, and TLS to that of connecting.

    A limit per read instead would let a host send single bytes for ever.
    """

    def __init__(
        self, stream: httpcore.NetworkStream, seconds_left: Callable[[], float], connecting: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._left = seconds_left
        self._connecting = connecting

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._connecting())
        return _Timed(stream, self._left, self._connecting)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
