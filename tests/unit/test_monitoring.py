"""`deploy/`: the alerts and the dashboard use metrics that exist, and fire for what they are about."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.domain.metrics import COUNTED
from tests.needed import missing

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "inferq.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
RISES: dict[str, str] = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
"""Recorded series -> expression."""
UNITS = {"bytes", "none", "percentunit", "reqps", "s", "short"}
"""Those of the units of Grafana that the dashboard has use for."""
STACKED = {"mode": "normal", "group": "A"}
"""How Grafana writes that series stand on each other: those of one group do."""
PAGE = (ROOT / "docs" / "operations" / "alerts.md").read_text()


def documented() -> dict[str, tuple[str, set[str]]]:
    """Return metric -> (type, labels), from the page that is made of what /metrics shows."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(inferq_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def series() -> dict[str, set[str]]:
    """Return series -> labels: a histogram has three, and a recorded one has the labels of its counter."""
    found = dict[str, set[str]]()
    for name, (kind, labels) in documented().items():
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found | {name: found[names_in(expression)[0]] for name, expression in RISES.items()}


def names_in(expression: str) -> list[str]:
    """Return the series of an expression, in order."""
    return re.findall(r"inferq[_:][\w:]+", expression)


def panels() -> list[tuple[str, str, str]]:
    """Return (title, expression, legend) of each query of the dashboard."""
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]


def variables() -> list[str]:
    """Return what the variables of the dashboard are filled by."""
    return [each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each]


def expressions() -> list[tuple[str, str]]:
    """Return (where, expression) of all rules and panels."""
    shown = [(title, expression) for title, expression, _ in panels()]
    alerts = [(rule["alert"], rule["expr"]) for rule in ALERTS]
    return [*RISES.items(), *alerts, *shown, *(("variables", each) for each in variables())]


def test_alerts_and_dashboard_use_series_and_labels_that_exist() -> None:
    known = series()
    assert len(known) > 40
    assert len(expressions()) > 40
    for where, expression in expressions():
        used = names_in(expression)
        assert set(used) <= set(known) or where == "ApiAway", f"{where}: {set(used) - set(known)}"
        labels = set().union(*(known[name] for name in used if name in known))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        chosen = {
            label for chosen in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)[=!]~?", chosen)
        }
        assert (grouped | chosen) - labels <= ({"job"} if where == "ApiAway" else set()), where


def test_the_dashboard_shows_every_metric() -> None:
    used = " ".join(expression for _, expression in expressions())
    assert [name for name in documented() if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", used)] == []


def test_panels_have_places_of_their_own() -> None:
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in DASHBOARD["panels"]]
    taken = [(x + dx, y + dy) for x, y, w, h in places for dx in range(w) for dy in range(h)]
    assert len(taken) == len(set(taken))
    assert all(0 <= x < x + w <= 24 for x, _, w, _ in places)  # the columns of a dashboard
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_the_dashboard_has_the_fields_that_grafana_needs() -> None:
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 39  # that of Grafana 10.4; a newer Grafana moves it on by itself
    assert "id" not in DASHBOARD  # the database of one Grafana gives it
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(titles) == len(set(titles))
    for panel in DASHBOARD["panels"]:
        assert isinstance(panel["id"], int)
        if panel["type"] == "row":
            assert (panel["collapsed"], panel["panels"]) == (False, []), panel["title"]  # those below belong to it
            continue
        assert panel["type"] in ("timeseries", "table"), panel["title"]
        defaults, targets = panel["fieldConfig"]["defaults"], panel["targets"]
        assert defaults["unit"] in UNITS, panel["title"]
        assert defaults.get("custom", {}).get("stacking", STACKED) == STACKED, panel["title"]
        assert [target["refId"] for target in targets] == list("ABCDEFG"[: len(targets)]), panel["title"]
        names = {target["legendFormat"] for target in targets}
        assert {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} <= names
        assert {override["matcher"]["id"] for override in panel["fieldConfig"]["overrides"]} <= {"byName"}


def test_every_query_asks_the_prometheus_that_is_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    shown = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    asked = [*shown, *(target for panel in shown for target in panel["targets"]), variables["model"]]
    assert [each for each in asked if each["datasource"] != chosen] == []
    used = {name for _, expression, _ in panels() for name in re.findall(r"\$(\w+)", expression)}
    assert used == {"model", "__rate_interval"}
    assert variables["model"]["query"]["query"] == variables["model"]["definition"]


def test_legends_name_labels_that_their_series_have() -> None:
    known = series()
    for panel, expression, legend in panels():
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        used = known[names_in(expression)[0]]
        labels = {label.strip() for label in grouped[0].split(",")} - {"le"} if grouped else used
        named = set(re.findall(r"{{(\w+)}}", legend))
        assert named == labels if grouped else named <= labels, panel


def test_grafana_finds_the_dashboard_and_knows_how_often_prometheus_reads() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "inferq.yml").read_text())["providers"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = [mount.split(":")[:2] for mount in services["grafana"]["volumes"]]
    assert ["./deploy/grafana/inferq.json", f"{provider['options']['path']}/inferq.json"] in mounts
    assert ["./deploy/grafana/provisioning", "/etc/grafana/provisioning"] in mounts

    about = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())
    (source,) = about["datasources"]
    assert (about["apiVersion"], source["type"], source["access"]) == (1, "prometheus", "proxy")
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in services["prometheus"]["ports"]
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    # $__rate_interval is four of them at least.
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    assert [scraped["static_configs"] for scraped in config["scrape_configs"]] == [[{"targets": ["api:8000"]}]]
    assert "api" in services


def test_every_alert_says_how_bad_it_is_what_to_do_and_where_that_is_explained() -> None:
    assert len(ALERTS) == len({rule["alert"] for rule in ALERTS}) > 10
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "cure", "page"}, rule["alert"]
        assert (ROOT / rule["annotations"]["page"]).is_file()
        minutes = rule["for"].removesuffix("m")
        assert f"| {rule['alert']} | {minutes} min |" in PAGE


def test_no_alert_misses_the_rise_of_what_first_appears_with_its_final_value() -> None:
    for name, expression in RISES.items():
        counter, window = names_in(expression)[0], name.rpartition(":rise")[2]
        had, read = f"count_over_time({counter}[{window}])", f"count_over_time(inferq_workers[{window}])"
        is_new = f"( {had} < on (job, instance) group_left () {read} )"
        assert " ".join(expression.split()) == f"{counter} and {is_new} or increase({counter}[{window}])", name
    assert {name for rule in ALERTS for name in names_in(rule["expr"]) if ":" in name} == set(RISES)
    shown = {metric.name for metric in COUNTED if metric.always}
    for rule in ALERTS:
        for name in re.findall(r"(?:rate|increase)\(([a-z_]+)", rule["expr"]):
            assert re.sub("_(total|count|bucket)$", "", name) in shown, rule["alert"]


def test_only_these_alerts_fire_after_a_single_burst() -> None:
    once = {"RequestsBreak", "PicturesFail", "PicturesAreTriedAgain", "DeadlinesAreMissed"}
    waits = {rule["alert"]: (int(rule["for"].removesuffix("m")), re.findall(r":rise(\d+)m", rule["expr"]))
             for rule in ALERTS}  # fmt: skip
    assert {alert for alert, (wait, windows) in waits.items() if windows and wait < min(map(int, windows))} == once


def test_every_alert_is_shown_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in ALERTS}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


@pytest.mark.parametrize(
    ("command", "file"),
    [("check config", "prometheus.yml"), ("check rules", "alerts.yml"), ("test rules", "alerts_test.yml")],
)
def test_promtool_accepts_it(command: str, file: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool, of the package prometheus,")
    done = subprocess.run([promtool, *command.split(), file], cwd=PROMETHEUS, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
