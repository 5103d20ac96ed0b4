"""Signed URLs: each is valid for one path until its last second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared import errors
from shared.container import Container
from shared.services import signed_urls

EXPIRES = 1000


def check(container: Container, now: float, path: str = "/a", expires: int = EXPIRES) -> None:
    (signature,) = signed_urls.sign(container, ["/a"], EXPIRES)
    signed_urls.check(replace(container, now=lambda: now), path, expires, signature)


@pytest.mark.parametrize("now", [0.0, EXPIRES - 1, EXPIRES - 0.001])
def test_a_signed_url_is_good_before_its_end(container: Container, now: float) -> None:
    check(container, now)


@pytest.mark.parametrize("now", [EXPIRES, EXPIRES + 0.001, EXPIRES + 1e9])
def test_a_signed_url_is_refused_from_its_end_on(container: Container, now: float) -> None:
    with pytest.raises(errors.Forbidden, match="expired"):
        check(container, now)


@pytest.mark.parametrize(("path", "expires"), [("/b", EXPIRES), ("/a", EXPIRES + 1), ("/a/", EXPIRES)])
def test_a_signature_is_for_one_path_and_one_end(container: Container, path: str, expires: int) -> None:
    with pytest.raises(errors.Forbidden, match="changed"):
        check(container, 0.0, path, expires)
