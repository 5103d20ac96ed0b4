"""Callbacks as rules: the signature of the Standard Webhooks specification, and when to try again."""

from __future__ import annotations

import base64
import hashlib

import pytest

from shared.domain import webhooks

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


def test_a_callback_is_tried_seven_times_in_growing_steps_and_then_given_up() -> None:
    waits = [webhooks.delay(attempts) for attempts in range(1, 8)]
    assert waits == [5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, None]
