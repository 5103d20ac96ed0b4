"""The TypeScript client in a browser, as a page of the service's own origin would load it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests import npm_packages
from tests.pages.browsing import Browsing
from tests.stacks import SAMPLES, Stack

CODE = """async picture => {
  const { Client, isGenuine } = await import('/typescript-client/index.js');
  const bytes = Uint8Array.from(atob(picture), letter => letter.charCodeAt(0));
  const client = new Client({ url: location.origin });
  const job = await client.classify(new File([bytes], 'seven.png'));
  const statuses = [];
  for await (const { status } of client.stream(await client.submit(bytes))) statuses.push(status);
  const labels = [];
  for await (const { prediction } of client.map([bytes, bytes])) labels.push(prediction.results[0].label);
  return {
    name: job.predictions[0].name, label: job.predictions[0].results[0].label, last: statuses.at(-1), labels,
    isGenuine: await isGenuine('secret', {}, '{}'),
  };
}"""


@pytest.mark.node
def test_the_client_classifies_streams_and_maps_in_a_browser(stack: Stack, browsing: Browsing) -> None:
    dist = npm_packages.built_typescript() / "dist"
    page = browsing.open(f"{stack.url}/docs")

    def load(route: Any) -> None:
        route.fulfill(path=dist / route.request.url.rpartition("/")[2], content_type="text/javascript")

    page.route("**/typescript-client/*.js", load)
    picture = base64.b64encode((SAMPLES / "digit_7.png").read_bytes()).decode()
    assert page.evaluate(CODE, picture) == {
        "name": "seven.png", "label": "7", "last": "DONE", "labels": ["7", "7"], "isGenuine": False,
    }  # fmt: skip
