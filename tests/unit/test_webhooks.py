"""Callbacks as rules: the signature of the Standard Webhooks specification, and when to try again."""

from __future__ import annotations

import base64
import hashlib

import pytest

from shared.domain import webhooks
from shared.domain.webhooks import FailingReceiver, Receiver, Reply, WaitingCallback, WebhookSecret
from worker.delivery_places import REMEMBERED, SLOW, DeliveryPlaces

BODY = b'{"type": "job.done", "data": {"_id": "0190"}}'


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """RFC 2104 with SHA-256, spelled out, so that nothing of the code under test is used to judge it."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def expected(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = message_id.encode() + b"." + str(timestamp).encode() + b"." + body
    return "v1," + base64.b64encode(hmac_by_hand(key, signed)).decode()


def test_hand_made_hmac_agrees_with_the_vector_of_rfc_4231() -> None:
    signature = hmac_by_hand(b"Jefe", b"what do ya want for nothing?").hex()
    assert signature == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_a_plain_secret_is_the_key_as_it_is() -> None:
    signature = webhooks.signature("a plain secret", "msg_1", 1_700_000_000, BODY)
    assert signature == expected(b"a plain secret", "msg_1", 1_700_000_000, BODY)


def test_a_whsec_secret_is_base64_of_the_key() -> None:
    key = bytes(range(24))
    secret = "whsec_" + base64.b64encode(key).decode()
    assert webhooks.signature(secret, "msg_1", 1_700_000_000, BODY) == expected(key, "msg_1", 1_700_000_000, BODY)


@pytest.mark.parametrize(
    "changed", [("msg_2", 1_700_000_000, BODY), ("msg_1", 1_700_000_001, BODY), ("msg_1", 1_700_000_000, BODY + b" ")]
)
def test_id_time_and_body_are_all_signed(changed: tuple[str, int, bytes]) -> None:
    assert webhooks.signature("s", *changed) != webhooks.signature("s", "msg_1", 1_700_000_000, BODY)


def test_two_secrets_give_two_signatures_with_a_space_between_them() -> None:
    both = webhooks.signatures(["new", "old"], "msg_1", 1_700_000_000, BODY)
    assert both.split(" ") == [expected(key, "msg_1", 1_700_000_000, BODY) for key in (b"new", b"old")]


@pytest.mark.parametrize(
    ("own", "of_tenant", "of_service", "signing"),
    [
        ("own", WebhookSecret("anna", "new", 0.0, "old", 100.0), "service", ["own"]),
        ("", WebhookSecret("anna", "new", 0.0, "old", 100.0), "service", ["new", "old"]),
        ("", WebhookSecret("anna", "new", 0.0, "old", 50.0), "service", ["new"]),
        ("", WebhookSecret("anna", "new", 0.0), "service", ["new"]),
        ("", None, "service", ["service"]),
        ("", None, "", []),
    ],
)
def test_the_secret_of_the_job_comes_first_and_that_of_the_service_last(
    own: str, of_tenant: WebhookSecret | None, of_service: str, signing: list[str]
) -> None:
    assert webhooks.signing_secrets(own, of_tenant, of_service, now=50.0) == signing


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example.org/hook?x=1", "a.example.org"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://[::1]:80/", "[::1]:80"),
        ("http://[::1/", ""),
    ],
)
def test_the_receiver_is_the_host_with_its_port(url: str, host: str) -> None:
    assert webhooks.host_of(url) == host


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example.org/hook?x=1", "https://a.example.org"),
        ("HTTP://anna:s3cret@127.0.0.1:8080/T0/B0#s3cret", "http://127.0.0.1:8080"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://[::1/s3cret", "http://"),
    ],
)
def test_an_origin_has_no_user_password_path_or_query(url: str, origin: str) -> None:
    assert webhooks.origin_of(url) == origin


def test_failing_receivers_are_grouped_by_tenant_and_origin_the_most_callbacks_first() -> None:
    def waits(
        tenant: str, url: str, since: float, status: int | None = None, *, failed: bool = True
    ) -> WaitingCallback:
        return WaitingCallback(tenant, url, since, failed, status)

    assert webhooks.failing_receivers([
        waits("anna", "https://well.test/1", 1.0, failed=False),
        waits("anna", "https://shop.test/1", 7.0),
        waits("bert", "https://shop.test/1", 9.0, 503),
        waits("bert", "https://SHOP.test/2", 8.0, 500),
        waits("bert", "https://shop.test/3", 2.0, failed=False),
        waits("carl", "https://shop.test/1", 6.0),
    ]) == [
        FailingReceiver("bert", "https://shop.test", 3, 8.0, 500),
        FailingReceiver("carl", "https://shop.test", 1, 6.0, None),
        FailingReceiver("anna", "https://shop.test", 1, 7.0, None),
    ]  # fmt: skip


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("", 30.0), ("29", 30.0), ("31", 31.0), ("99999", 3600.0), ("-5", 30.0), ("inf", 30.0), ("1e999", 30.0),
        ("soon", 30.0), ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0), ("Tue, 14 Nov 2023 20:00:00 GMT", 30.0),
    ],
)  # fmt: skip
def test_a_receiver_may_ask_for_a_later_attempt_and_not_for_an_earlier_one(retry_after: str, wait: float) -> None:
    assert webhooks.delay(2, Reply(503, retry_after), NOW) == wait


def test_a_receiver_that_is_gone_is_not_called_again() -> None:
    assert webhooks.delay(1, Reply(410, "60"), NOW) is None
    assert webhooks.delay(7, Reply(503, "60"), NOW) is None


@pytest.mark.parametrize(("status", "problem"), [(200, ""), (299, ""), (199, "answered 199"), (300, "answered 300")])
def test_a_callback_is_received_when_a_2xx_answers(status: int, problem: str) -> None:
    assert webhooks.problem_of(Reply(status, "")) == problem


def test_a_callback_is_tried_seven_times_in_growing_steps_and_then_given_up() -> None:
    waits = [webhooks.delay(attempts) for attempts in range(1, 8)]
    assert waits == [5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, None]


# places of a deliverer

A, B, C = (Receiver("anna", host) for host in "abc")
OF_BERT, ALSO_OF_BERT = (Receiver("bert", host) for host in "ab")


def test_a_receiver_a_tenant_and_the_process_have_only_so_many_places() -> None:
    places = DeliveryPlaces(total=4, of_tenant=3, of_receiver=2)
    assert [places.take(A) for _ in range(3)] == [True, True, False]
    assert places.full() == ([], [A])
    assert [places.take(B), places.take(C)] == [True, False]
    assert places.full() == (["anna"], [A])
    assert places.is_any_free()
    assert [places.take(OF_BERT), places.take(ALSO_OF_BERT)] == [True, False]
    assert not places.is_any_free()

    places.release(A, seconds=0.1)
    assert places.full() == ([], [])
    assert places.take(C)


def test_a_slow_receiver_has_one_place_until_it_is_quicker() -> None:
    places = DeliveryPlaces(of_receiver=4)
    places.take(A)
    places.release(A, seconds=SLOW)
    assert [places.take(A), places.take(A)] == [True, False]
    places.release(A, seconds=None)  # it was not called
    assert [places.take(A), places.take(A)] == [True, False]
    places.release(A, seconds=SLOW - 0.1)
    assert [places.take(A) for _ in range(5)] == [True, True, True, True, False]


def test_of_many_slow_receivers_the_last_ones_are_remembered() -> None:
    places = DeliveryPlaces(of_receiver=2)
    receivers = [Receiver("anna", str(number)) for number in range(REMEMBERED + 1)]
    for receiver in receivers:
        places.take(receiver)
        places.release(receiver, seconds=SLOW)
    assert [places.take(receivers[0]), places.take(receivers[0])] == [True, True]
    assert [places.take(receivers[1]), places.take(receivers[1])] == [True, False]
