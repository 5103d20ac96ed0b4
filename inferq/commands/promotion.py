"""The commands of `inferq models` that decide which version answers: compare, promote, rollback, canary."""

from __future__ import annotations

import shlex

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, evidence, options
from inferq.errors import InferqError
from shared.schemas.promotions import Comparison, ComparisonReport, LabelCounts

NAME = click.argument("name")
VERSION = click.argument("version")


@click.command()
@NAME
@VERSION
@click.option(
    "--with", "baseline", default="", metavar="VERSION", help="The other version; by default the default version."
)
@click.option("--dataset", help="The dataset with the test pictures; by default the dataset of VERSION.")
@options.JSON
@options.server
def compare(client: Client, name: str, version: str, baseline: str, dataset: str | None, as_json: bool) -> None:
    """Compare a version with another one on the same test pictures.

    Pictures that one of the two was trained on are left out.
    """
    with console.remarks.status(f"comparing {name} {version} with {baseline or 'the default version'}"):
        comparison = client.models.compare(name, version, baseline=baseline, dataset=dataset)
    if as_json:
        console.print_json(comparison)
    elif comparison.status == "DONE":
        report = _print(comparison)
        if not baseline and report.verdict == "better":
            hint = Text.assemble(("next ", "dim"), shlex.join(("inferq", "models", "promote", name, version)))
            console.remarks.print(hint, soft_wrap=True)
    if comparison.status != "DONE":
        raise InferqError(f"{name} {version} cannot be compared: {comparison.error or 'no reason was given'}")


@click.command()
@NAME
@VERSION
@options.server
def promote(client: Client, name: str, version: str) -> None:
    """Make a version the default version. It must have been compared before."""
    client.models.promote(name, version)
    undo = f"undo it with: inferq models rollback {shlex.quote(name)}"
    console.remarks.print(f"{name} {version} is the default version; {undo}", soft_wrap=True)


@click.command()
@NAME
@options.server
def rollback(client: Client, name: str) -> None:
    """Undo the last promotion of a model."""
    restored = client.models.rollback(name)
    console.remarks.print(f"{name} {restored.version} is the default version again", soft_wrap=True)


def _share(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Return a share above 0 and at most 1; raises BadParameter otherwise, also for 0, which points to --off."""
    if value is not None and not 0 < value <= 1:
        raise click.BadParameter(f"{value:g} is not above 0 and at most 1; to end a canary: --off")
    return value


@click.command()
@NAME
@click.argument("version", required=False)
@click.argument("share", required=False, type=float, callback=_share)
@click.option("--off", is_flag=True, help="End the canary: the default version answers everything.")
@options.JSON
@options.server
def canary(client: Client, name: str, version: str | None, share: float | None, off: bool, as_json: bool) -> None:
    """Let a version answer a SHARE of the requests, from 0 to 1.

    SHARE is a part of the requests that name no version. Without VERSION and SHARE the command shows how often
    the canary agreed with the default version.

    \b
      inferq models canary flowers 3 0.1
      inferq models canary flowers
      inferq models canary flowers --off
    """
    if (version is None) != (share is None) or (off and version is not None):
        raise click.UsageError("name a version and its share, or --off, or nothing to show the canary")
    if off:
        client.models.clear_canary(name)
        console.remarks.print(f"{name} has no canary now", soft_wrap=True)
        return
    state = (
        client.models.get_canary(name)
        if version is None or share is None
        else client.models.set_canary(name, version, share)
    )
    if as_json:
        console.print_json(state)
        return
    agreed, compared = state.agreed, state.compared
    agreement = (
        f"it agreed with the default version on {agreed} of {compared} pictures"
        if compared
        else "no picture has been compared so far"
    )
    share_of = f"answers {console.percent(state.share)} of the requests that name no version"
    console.out.print(Text.assemble((f"{name} {state.version}", "bold"), f" {share_of}; {agreement}"), soft_wrap=True)


COMMANDS = (compare, promote, rollback, canary)


def _print(comparison: Comparison) -> ComparisonReport:
    report = comparison.report
    if report is None:
        raise InferqError(f"the comparison {comparison.id} is {comparison.status} and has no report")
    candidate, baseline = report.candidate, report.baseline
    pictures = "1 test picture" if report.pictures == 1 else f"{report.pictures} test pictures"
    summary = f" on {pictures}; the two agree on {console.percent(report.agreement)}"
    console.out.print(Text.assemble((comparison.name, "bold"), summary), soft_wrap=True)
    if left_out := report.left_out:
        why = "one of the two was trained on them, or neither has their label"
        are = "1 more is" if left_out == 1 else f"{left_out} more are"
        console.out.print(Text(f"{are} left out: {why}", "dim"), soft_wrap=True)
    for remark in (_verdict(report), _labels(report.labels)):
        if remark:
            console.out.print(remark, soft_wrap=True)
    versions = [f"version {candidate.version}", f"version {baseline.version}"]
    listed = console.table("", *versions, "change", "", numbers=(*versions, "change"))
    if candidate.mean_average_precision is not None:
        change = _compared(candidate.mean_average_precision, baseline.mean_average_precision, 100, "{:.1f} %")
        listed.add_row("mAP", *change)
    name = "accuracy" if candidate.mean_average_precision is None else "all labels right"
    listed.add_row(name, *_compared(candidate.accuracy, baseline.accuracy, 100, "{:.1f} %"))
    listed.add_row("macro F1", *_compared(candidate.macro_f1, baseline.macro_f1, 1, "{:.3f}"))
    pace = (candidate.milliseconds, baseline.milliseconds)
    listed.add_row("ms a picture", *_compared(*pace, 1, "{:.1f}", judged=False))
    listed.add_section()
    baseline_f1 = {row.label: row.f1 for row in baseline.per_label}
    for row in candidate.per_label:
        listed.add_row(Text(f"F1 of {row.label}"), *_compared(row.f1, baseline_f1.get(row.label), 1, "{:.3f}"))
    console.out.print(listed)
    return report


_VERDICTS = {
    "better": ("it is better by more than chance", "green"),
    "worse": ("it is worse by more than chance", "red"),
    "open": ("chance alone may explain the difference; more test pictures would tell", "yellow"),
}


def _verdict(report: ComparisonReport) -> Text:
    """Return what the pictures can say of the candidate; for an old report, a warning if there are few."""
    if report.only_right is None:
        return evidence.few(report.pictures)
    words, style = _VERDICTS[report.verdict]
    if bounds := report.mean_average_precision_change_interval:
        low, high = (f"{100 * bound:+.1f}" for bound in bounds)
        return Text.assemble((words, style), f": the change of mAP is probably between {low} and {high} points")
    only, candidate, baseline = report.only_right, report.candidate.version, report.baseline.version
    counts = f": only version {candidate} is right on {only.candidate}, only version {baseline} on {only.baseline}"
    return Text.assemble((words, style), counts)


def _labels(counted: LabelCounts | None) -> Text:
    """Return a warning if the versions have different labels; empty if not, or if an old report does not count them."""
    if counted is None or counted.candidate == counted.baseline == counted.common:
        return Text("")
    counts = f"{counted.candidate} and {counted.baseline}, {counted.common} in common"
    return Text(f"the versions have different labels: {counts}", "yellow")


def _compared(new: float, old: float | None, scale: float, shown: str, *, judged: bool = True) -> list[Text]:
    """Return both values and the change, green if better and red if worse; without colours if not `judged`."""
    if old is None:  # the other version does not have the label
        return [Text(shown.format(new * scale)), Text("–"), Text(""), Text("")]
    change = (new - old) * scale
    text = shown.replace(":", ":+").format(change).removesuffix(" %")  # points, not a share of the old value
    same = not any(figure in text for figure in "123456789")
    style, sign = ("dim", "=") if same else ("green", "▲") if change > 0 else ("red", "▼")
    values = [Text(shown.format(new * scale), "bold"), Text(shown.format(old * scale))]
    return [*values, Text(text, style), Text(sign, style)] if judged else [*values, Text(text, "dim"), Text("")]
