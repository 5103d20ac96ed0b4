"""`/oauth2/token` and `/apiusage`: access tokens of accounts, and the predictions that they have used."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, reading
from api.context import caller, container, scope
from api.dialects.einstein_vision.common import METER, Calls, list_response, required_text, time
from api.reading import Fields
from shared import errors
from shared.services import accounts, usage

TOKEN_PATH, USAGE_PATH = "/oauth2/token", "/apiusage"
HOSTED = ("https://api.einstein.ai/v2/oauth2/token", "https://api.metamind.io/v1/oauth2/token")
"""The audiences in the assertions of clients that address the vendor and reach this service by its host name only."""
BY_ASSERTION, BY_REFRESH = "urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token"
NO_QUOTA = 2**31 - 1
"""The quota reported where there is none: clients read a number of 32 bits, and the wire has no word for none."""


@auth.public
def token() -> ResponseReturnValue:
    """Return an access token for a signed assertion or for a refresh token."""
    request.max_content_length = reading.SMALL  # a small limit, as the caller is not authenticated yet
    fields = Fields(request.form)
    grant = fields.text("grant_type")
    local = auth.from_loopback(request)
    if grant == BY_ASSERTION:
        offline = "offline" in fields.text("scope").split()
        tokens = accounts.exchange(
            container(), required_text(fields, "assertion"), _audiences(), offline=offline, from_loopback=local
        )
    elif grant == BY_REFRESH:
        seconds = fields.whole("valid_for", accounts.LONGEST)
        tokens = accounts.refresh(container(), required_text(fields, "refresh_token"), seconds, from_loopback=local)
    else:
        raise errors.BadOption(f"grant_type must be {BY_ASSERTION} or {BY_REFRESH}, not {grant!r}")
    body = {"access_token": tokens.access, "token_type": "Bearer", "expires_in": tokens.seconds}
    response = jsonify(body | ({"refresh_token": tokens.refresh} if tokens.refresh else {}))
    response.headers["Cache-Control"] = "no-store"
    return response


def _audiences() -> list[str]:
    """Return the accepted audiences: the vendor's addresses of this call, and this service's own.

    Without the setting `public_url`, the own address comes from the request. Then a holder of an assertion for another
    service can present it here as valid, so a service that untrusted clients reach must set `public_url`.
    """
    public_url = container().settings.public_url.rstrip("/")
    return [*HOSTED, f"{public_url}{request.path}" if public_url else request.base_url]


@scope("infer")
def show_usage() -> ResponseReturnValue:
    """Return the tenant's used predictions of the current month, as a list of one plan."""
    limit = container().settings.einstein_quota or NO_QUOTA
    tenant = caller().tenant
    used = usage.used(container(), tenant, METER)
    start, end = usage.month(container().now())
    plan = {
        "id": f"{datetime.fromtimestamp(start, UTC):%Y-%m}",
        "organizationId": tenant,
        "startsAt": time(start),
        "endsAt": time(end),
        "planData": [{"plan": "INFERQ", "amount": 1, "source": "INFERQ"}],
        "licenseId": tenant,
        "object": "apiusage",
        "predictionsRemaining": max(0, limit - used),
        "predictionsUsed": used,
        "predictionsMax": limit,
    }
    return list_response([plan])


CALLS: Calls = ((TOKEN_PATH, "POST", token), (USAGE_PATH, "GET", show_usage))
