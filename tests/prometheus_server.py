"""A real Prometheus on a free port, with the configuration of `deploy/`, which reads a stack every second."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.needed import missing
from tests.stacks import until

DEPLOYED = Path(__file__).parent.parent / "deploy" / "prometheus"
EVERY = "1s"


class Prometheus:
    """A running server; `at` is its address."""

    def __init__(self, at: str) -> None:
        self._client = httpx.Client(base_url=f"{at}/api/v1/", timeout=30)

    def close(self) -> None:
        self._client.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, as they are now; fail with the words of Prometheus if it is wrong."""
        found = self._get("query", query=expression)
        assert found["resultType"] == "vector", f"{expression} is no vector: {found}"
        return list(found["result"])

    def label_values(self, label: str, series: str) -> list[str]:
        return list(self._get(f"label/{label}/values", **{"match[]": series}))

    def scrapes(self) -> int:
        """Return how often the stack was read."""
        return int(sum(float(each["value"][1]) for each in self.query('count_over_time(up{job="inferq"}[1h])')))

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Return the alerts that fire, by their names."""
        alerts = dict[str, list[dict[str, Any]]]()
        for alert in self._get("alerts")["alerts"]:
            if alert["state"] == "firing":
                alerts.setdefault(alert["labels"]["alertname"], []).append(alert)
        return alerts

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        assert not answer.get("warnings"), f"{parameters}: {answer['warnings']}"
        return answer["data"]


@contextmanager
def reading(url: str, folder: Path, changed: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run a Prometheus that reads the stack at `url`, and whose alerts fire at once; `changed` is text of the rules ->
    what stands there instead."""
    program = shutil.which("prometheus")
    if program is None:
        missing("prometheus, of the package of this name,")
    folder.mkdir()
    config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    (scraped,) = config["scrape_configs"]
    scraped["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = re.sub(r"for: \d+m", "for: 0s", (DEPLOYED / "alerts.yml").read_text())
    for text, instead in changed.items():
        assert rules.count(text) == 1, text
        rules = rules.replace(text, instead)
    (folder / "alerts.yml").write_text(rules)
    log = folder / "prometheus.log"
    command = [str(program), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               "--web.listen-address=127.0.0.1:0"]  # fmt: skip
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
    try:
        until(lambda: "ready to receive web requests" in log.read_text(), 30, log.read_text)
        port = re.search(r'"Listening on" address=127.0.0.1:(\d+)', log.read_text())
        assert port, log.read_text()
        prometheus = Prometheus(f"http://127.0.0.1:{port[1]}")
        yield prometheus
        prometheus.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
