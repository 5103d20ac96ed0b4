"""HTTP to addresses that strangers name: public hosts only, to the address that was checked, bounded in time and size.

    url ──> scheme, host, port ──> DNS, once ──> every address public? ──> connect to that address ──> bytes
                  ▲                                                                                │
                  └────────────────────── redirect, at most three, checked again ─────────────────┘

The check sits where the connection is made, not where the URL is read: a second DNS answer, or a URL that two parsers
read differently, cannot slip past it. Proxies from the environment are not used, as they would resolve the name anew.
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

from shared.errors import BadUrl

MAX_REDIRECTS = 3
SLOWEST = 64 * 1024
"""Bytes per second that the host of an archive must send on average: others wait behind it."""
STALLED = 30.0
"""Seconds of waiting for the host over which that is the average, and in which an answer must begin."""

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)
"""Protocol assignments, 6to4, Teredo, documentation: Python 3.11 calls some of them global."""

_UNICAST = ipaddress.ip_network("2000::/3")
"""All public IPv6. What embeds an IPv4 address elsewhere (`::ffff:`, NAT64 and others) is thereby refused."""


def fetch(url: str, *, max_bytes: int, timeout: float, allow_private: bool, hosts: Sequence[str] = ()) -> bytes:
    """The body behind a picture's URL, as sent; `timeout` is seconds in all. Raises BadUrl.

    With `hosts`, such as `cdn.example.org` or `*.example.com`, no other host is asked, redirects included.
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
    """Write the body behind an archive's URL to `file`; `timeout` is seconds in all. Raises BadUrl.

    A host that sends less than SLOWEST is given up after STALLED seconds. `on_progress` is told the bytes so far, and
    how many there will be, 0 where the host does not say; what it raises ends the fetching.
    """
    whole, begin = _deadline(timeout), _deadline(min(timeout, STALLED))
    begun = False

    def left() -> float:
        return min(whole(), STALLED) if begun else begin()

    with _answered(url, "*/*", left, allow_private) as response:
        begun = True
        length = _header(response, b"content-length")
        done, total = 0, int(length) if length.isdecimal() else 0
        for chunk in _steady(_body(response, max_bytes, "archive")):
            file.write(chunk)
            done += len(chunk)
            on_progress(done, total)


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, allow_private: bool) -> int:
    """Send `body` and return the status that came back; redirects are not followed. Raises BadUrl."""
    with _request("POST", url, body, headers, _deadline(timeout), allow_private) as response:
        return response.status


def check_url(url: str, *, allow_private: bool, timeout: float = 5.0) -> None:
    """Raise BadUrl unless the URL can be read, its host resolves, and every address of it is public."""
    parsed = _parse(url)
    _addresses(parsed.host.decode(), parsed.port or 0, _deadline(timeout), allow_private)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and to one machine there."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in _REFUSED) or ip.is_multicast or not ip.is_global:
        return False
    return ip in _UNICAST if ip.version == 6 else not ip.is_reserved


def _is_listed(host: str, hosts: Sequence[str]) -> bool:
    """`*.example.com` is every host below `example.com`, at any depth, and not that one itself."""
    host = host.lower().rstrip(".")
    return any(host.endswith(name[1:]) if name.startswith("*.") else host == name for name in map(str.lower, hosts))


def _deadline(timeout: float) -> Callable[[], float]:
    """A function that tells the seconds left, and raises BadUrl when there are none."""
    end = time.monotonic() + timeout

    def left() -> float:
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise _late()
        return seconds

    return left


def _late() -> BadUrl:
    return BadUrl("The host behind the URL did not answer completely in time. Try again, or send the bytes themselves.")


def _parse(url: str) -> httpcore.URL:
    """Raises BadUrl on anything but http and https with a host, without credentials."""
    try:
        url.encode()  # half a surrogate, which JSON lets through, is no text
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        # The host as DNS wants it; the path as HTTP wants it, what is escaped already left alone.
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise BadUrl("The URL cannot be read. Give one like https://example.com/path/file.") from None
    if parts.scheme not in ("http", "https"):
        raise BadUrl("Only http and https URLs are fetched.")
    if not host or not port or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise BadUrl("The URL needs a host, and must not contain spaces. Give one like https://example.com/path/file.")
    if "@" in parts.netloc:
        raise BadUrl("The URL must not carry a user name or password.")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return httpcore.URL(
        scheme=parts.scheme, host=host, port=port, target=urllib.parse.quote(target, safe="/%:=&?~+!$,;'@()*[]|")
    )


def _host(url: httpcore.URL) -> str:
    """The Host header: with brackets around IPv6, without the usual port."""
    host = url.host.decode()
    name = f"[{host}]" if ":" in host else host
    return name if (url.scheme, url.port) in ((b"http", 80), (b"https", 443)) else f"{name}:{url.port}"


@contextmanager
def _answered(
    url: str, accept: str, left: Callable[[], float], allow_private: bool, hosts: Sequence[str] = ()
) -> Iterator[httpcore.Response]:
    """The answer at the end of all redirects, each of which is checked like the first URL."""
    for _ in range(MAX_REDIRECTS + 1):
        if hosts and not _is_listed(_parse(url).host.decode(), hosts):
            raise BadUrl("Pictures are not fetched from that host. Send the bytes themselves.")
        with _request("GET", url, b"", {"Accept": accept}, left, allow_private) as response:
            location = _header(response, b"location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                yield response
                return
        try:
            url = urllib.parse.urljoin(url, location)
        except ValueError as error:
            raise BadUrl("The URL redirects to something that is no URL. Give the final one.") from error
    raise BadUrl(f"The URL redirects more than {MAX_REDIRECTS} times. Give the final one.")


@contextmanager
def _request(
    method: str, url: str, body: bytes, headers: Mapping[str, str], left: Callable[[], float], allow_private: bool
) -> Iterator[httpcore.Response]:
    parsed = _parse(url)
    # An encoding is not asked for, so that nothing small can unfold into something large.
    sent = [("Host", _host(parsed)), ("User-Agent", "inferq"), ("Accept-Encoding", "identity"), *headers.items()]
    if body:
        sent.append(("Content-Length", str(len(body))))
    backend = _Pinned(left, allow_private)
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


def _body(response: httpcore.Response, max_bytes: int, what: str) -> Iterator[bytes]:
    """The body of a good answer in pieces as they come; `what` was asked for, as a word for people."""
    if response.status != 200:
        raise BadUrl(f"The URL answered with status {response.status} instead of the {what}. Check the URL.")
    if (_header(response, b"content-encoding") or "identity") != "identity":
        raise BadUrl("The URL answered with compressed content, which was not asked for. Send the bytes themselves.")
    size = 0
    for chunk in response.iter_stream():
        size += len(chunk)
        if size > max_bytes:
            raise BadUrl(f"The URL holds more than the allowed {max_bytes} bytes. Give a smaller {what}.")
        yield chunk


def _steady(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same; raises BadUrl when less than SLOWEST comes. The time that the receiver takes does not count."""
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
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _addresses(host: str, port: int, left: Callable[[], float], allow_private: bool) -> list[str]:
    """All addresses of a host, looked up once. Raises BadUrl when one of them is not public."""
    found = list(dict.fromkeys(_look_up(host, port, left)))
    if not found:
        raise BadUrl(f"The host {host!r} of the URL is not known. Check the URL.")
    if not allow_private and not all(is_public(address) for address in found):
        # One private address among public ones is refused as well: that is how rebinding looks.
        raise BadUrl(f"The host {host!r} is not on the public internet. Send the bytes themselves.")
    return found


def _look_up(host: str, port: int, left: Callable[[], float]) -> list[str]:
    """getaddrinfo in a thread of its own, as it knows no timeout and a slow name server is the stranger's to run."""
    answer: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put([str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except (OSError, ValueError, OverflowError):
            answer.put([])

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return answer.get(timeout=left())
    except queue.Empty:
        raise _late() from None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Certificates are checked against the packaged authorities and those of this machine."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


class _Pinned(httpcore.NetworkBackend):
    """Connects to the very address that was checked; TLS still asks for the certificate of the name."""

    def __init__(self, left: Callable[[], float], allow_private: bool) -> None:
        self._left = left
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # httpcore's signature; the time left counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in _addresses(host, port, self._left, self._allow_private):
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, self._left(), local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _Timed(stream, self._left)
        raise failure


class _Timed(httpcore.NetworkStream):
    """Every operation gets what is left of the whole time: a limit per read lets a host drip bytes for ever."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream = stream
        self._left = left

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
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
