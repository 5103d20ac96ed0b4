"""Rate limits on a real server: one window per caller over all processes, and no limit while Redis is away."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from limits.storage import MemoryStorage

from shared.adapters.queue.connection import TIMEOUT
from shared.adapters.rate_limits import RateLimits, RateWindow
from shared.settings import Settings
from tests.stacks import until

RULE = "3/minute"
SETTINGS = [name for name in Settings.model_fields if name.endswith("_rate")]


@pytest.fixture
def settings(valkey: str) -> Settings:
    """Settings with a prefix of their own on the server that all tests share."""
    return Settings(redis_url=valkey, prefix=f"test-{uuid.uuid4().hex[:8]}:")


@pytest.fixture
def counter(settings: Settings) -> RateLimits:
    return RateLimits(settings)


@pytest.fixture
def server(settings: Settings) -> Iterator[redis.Redis]:
    """A client of the server, to read the keys that were stored."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that accepts connections and is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def at(listener: socket.socket) -> Settings:
    return Settings(redis_url=f"redis://127.0.0.1:{listener.getsockname()[1]}/0")


def hit(counter: RateLimits, *who: str, rule: str = RULE) -> RateWindow:
    window = counter.hit(rule, *who)
    assert window is not None
    return window


@pytest.mark.redis
def test_a_window_takes_so_many_requests_and_no_more(counter: RateLimits) -> None:
    windows = [hit(counter, "anna") for _ in range(5)]
    assert [window.allowed for window in windows] == [True, True, True, False, False]
    assert [window.remaining for window in windows] == [2, 1, 0, 0, 0]
    assert {(window.limit, window.seconds) for window in windows} == {(3, 60)}
    assert all(0 < window.reset_in <= 60 for window in windows)


@pytest.mark.redis
def test_each_caller_has_a_window_of_its_own(counter: RateLimits) -> None:
    for who in (("sap", "anna", "live"), ("sap", "anna", "test"), ("sap", "bert", "live"), ("img", "anna", "live")):
        assert hit(counter, *who).remaining == 2


@pytest.mark.redis
def test_a_new_window_begins_when_the_old_one_is_over(
    counter: RateLimits, settings: Settings, server: redis.Redis
) -> None:
    while hit(counter, "anna").allowed:
        pass
    for key in server.keys(f"{settings.prefix}*"):
        server.pexpire(key, 1)
    until(lambda: hit(counter, "anna").allowed, 10)


@pytest.mark.redis
@pytest.mark.parametrize("milliseconds", [10_000, 10_400, 10_600])
def test_a_caller_that_waits_for_retry_after_is_not_too_early(
    milliseconds: int, counter: RateLimits, settings: Settings, server: redis.Redis
) -> None:
    hit(counter, "anna")
    (key,) = server.keys(f"{settings.prefix}*")
    server.pexpire(key, milliseconds)
    assert hit(counter, "anna").reset_in * 1000 >= server.pttl(key) > 0


@pytest.mark.redis
def test_two_processes_share_one_window(counter: RateLimits, settings: Settings) -> None:
    other = RateLimits(settings)
    assert [hit(each, "anna").remaining for each in (counter, other, counter)] == [2, 1, 0]
    assert not hit(other, "anna").allowed


@pytest.mark.redis
def test_of_many_requests_at_once_exactly_as_many_as_are_allowed_go_through(counter: RateLimits) -> None:
    with ThreadPoolExecutor(8) as pool:
        windows = list(pool.map(lambda _: hit(counter, "anna", rule="10/hour"), range(40)))
    assert sorted(window.remaining for window in windows if window.allowed) == list(range(10))


@pytest.mark.redis
def test_what_is_kept_lies_below_the_prefix_and_goes_away_by_itself(
    counter: RateLimits, settings: Settings, server: redis.Redis
) -> None:
    before = set(server.keys("*"))
    hit(counter, "anna")
    (key,) = set(server.keys("*")) - before
    assert isinstance(key, str)
    assert key.startswith(settings.prefix)
    assert 0 < server.ttl(key) <= 60


def test_without_redis_no_request_is_counted_and_none_is_refused(listener: socket.socket) -> None:
    settings = at(listener)
    listener.close()
    counter = RateLimits(settings)
    assert [counter.hit("1/minute", "anna") for _ in range(3)] == [None] * 3


def test_a_redis_that_says_nothing_holds_a_request_up_only_for_a_moment(listener: socket.socket) -> None:
    began = time.monotonic()
    assert RateLimits(at(listener)).hit(RULE, "anna") is None
    assert time.monotonic() - began < TIMEOUT  # it waits for BRIEF


def test_a_redis_that_hangs_up_is_asked_once_and_not_before_there_is_something_to_count(
    listener: socket.socket,
) -> None:
    """A second attempt after a pause would keep the caller waiting, and could count one request twice."""
    callers: list[object] = []

    def hang_up() -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            callers.append(address)
            connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    counter = RateLimits(at(listener))
    assert counter.hit("", "anna") is None
    assert callers == []
    assert counter.hit(RULE, "anna") is None
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert len(callers) == 1


@pytest.mark.parametrize("rule", ["", "off", " OFF "])
def test_no_limit_is_no_window_and_nothing_is_counted(rule: str) -> None:
    storage = MemoryStorage()
    assert RateLimits(Settings(), storage).hit(rule, "anna") is None
    assert not storage.storage


@pytest.mark.parametrize(
    ("rule", "limit", "seconds"),
    [("100/minute", 100, 60), ("5/second", 5, 1), ("10000/day", 10_000, 86_400), ("500 per 5 minutes", 500, 300)],
)
def test_rules_are_read_as_they_are_written(rule: str, limit: int, seconds: int) -> None:
    window = hit(RateLimits(Settings(), MemoryStorage()), "anna", rule=rule)
    assert (window.limit, window.seconds, window.remaining) == (limit, seconds, limit - 1)


@pytest.mark.parametrize("rule", ["many", "100", "-1/minute", "100/fortnight", "1/second; 100/minute", "0/minute"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_invalid_rule_is_refused_at_the_start_with_the_name_of_its_setting(setting: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^INFERQ_{setting.upper()} must be a rule .*{rule}"):
        RateLimits(Settings().changed(**{setting: rule}))
