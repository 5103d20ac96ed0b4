"""`inferq models show` prints one version of a model with its architecture, preprocessing and labels."""

from __future__ import annotations

from itertools import islice

import click
from rich.table import Table
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, model_reject, options
from inferq.errors import InferqError
from shared.schemas.models import EngineReport, Model, Preprocessing, Version, VersionDetails

_FIRST_LABELS = 6
_ORIGINS = {
    "published": "as published with the weights",
    "recognised": "recognised by the checksum of the file",
    "included": "as it lies beside the weights",
    "requested": "as the import requested",
    "assumed": "assumed, since the import named none",
}


@click.command()
@click.argument("name")
@click.option("--version", default="", help="The version; by default the default version.")
@options.JSON
@options.server
def show(client: Client, name: str, version: str, as_json: bool) -> None:
    """Show a version of a model: architecture, preprocessing, labels."""
    model = client.models.get(name)
    details = client.models.get_version(name, version or model.default_version)
    if as_json:
        console.print_json(details)
        return
    listed = Table.grid(padding=(0, 2))
    for heading, value in _rows(model, details):
        listed.add_row(Text(heading, style="dim"), value if isinstance(value, Text) else Text(str(value)))
    console.out.print(listed)


def _rows(model: Model, version: VersionDetails) -> list[tuple[str, object]]:
    others = [other.version for other in model.versions if other.version != version.version]
    names = [model.name, *model.aliases]
    rows: list[tuple[str, object]] = [
        ("model", Text(" = ".join(names), style="bold") + (" (the default model)" if model.is_default else "")),
        ("version", version.version + (f"; others: {', '.join(others)}" if others else "")),
        ("state", console.status(version.state)),
        ("reason", version.reason),
        ("architecture", _architecture(version)),
        ("preprocessing", describe(version)),
        ("labels", _labels(version.label_names)),
        ("problem type", version.problem_type),
        ("thresholds", _thresholds(version)),
        ("rejection", model_reject.describe(version.rejection) if version.rejection else ""),
        ("checksum", version.checksum),
        ("engine", version.engine),
        ("measured", _measured(version.engine_report)),
        ("training", version.training),
    ]
    return [(heading, value) for heading, value in rows if value]


def describe(version: Version) -> str:
    """Return the preprocessing in two lines, its values and their origin; empty while it is unknown."""
    values = version.preprocessing
    if not values:
        return ""
    sizes = f"resize {_size(values.resize)}, crop {_size(values.crop)} ({values.crop_mode}), {values.interpolation}"
    text = f"{sizes}, {values.mode}, mean {_numbers(values.mean)}, std {_numbers(values.std)}"
    usual = Preprocessing(resize=1, crop=1, mean=[], std=[], interpolation="", mode="", crop_mode="")
    unusual = ("channel_order", "scale", "crop_offset", "background", "color_profile")
    for name in unusual:
        if (value := getattr(values, name)) != getattr(usual, name):
            text += f", {name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
    if version.preset is None and version.training:
        text += "\nas for its base"
    if preset := version.preset:
        text += f"\n{', '.join(word for word in (preset.name, _ORIGINS.get(preset.origin, '')) if word)}"
        if changed := preset.changed:
            text += f"; set by the import: {', '.join(changed)}"
    return text


def _measured(report: EngineReport | None) -> str:
    """Return the rate of each candidate and, with the precision `fast`, what it would change; a line for each."""
    if report is None:
        return ""
    threads = "one thread" if report.threads == 1 else f"{report.threads} threads"
    rates = ", ".join(f"{name} {rate:g} pictures/s" for name, rate in report.pictures_per_second.items())
    lines = [f"{rates} with {threads}; answers differ by {report.difference:.1g} at most"]
    if report.precision == "fast":
        lines[0] += f"; chosen: {report.chosen}"
        lines += [
            f"{name}: {found.agreement:.1%} of {report.pictures} pictures keep their label, scores differ by "
            f"{found.score_difference:.2g} at most"
            for name, found in report.errors.items()
        ]
    lines += [f"no {name}: {reason}" for name, reason in report.refused.items()]
    return "\n".join(lines)


def _size(size: int | list[int]) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def warn_if_assumed(version: Version) -> None:
    """Print on stderr which preset was assumed, and how to name another one."""
    preset = version.preset
    if preset is None or preset.origin != "assumed":
        return
    other_presets = [name for name in preset.available if name != preset.name]
    alternatives = (
        f"{version.architecture} also has {', '.join(other_presets)}"
        if other_presets
        else "a JSON file or single values can be given too"
    )
    name = preset.name or "the architecture's own"
    scope = " for the values that were not given" if preset.changed else ""
    console.remarks.print(
        f"preprocessing {name} was assumed{scope}: {describe(version).splitlines()[0]}.\nIf these weights were trained "
        f"with another one, their scores are wrong: import them again with --preprocessing NAME; {alternatives}.",
        style="yellow", soft_wrap=True,
    )  # fmt: skip


def get_version(model: Model, version: str) -> Version:
    """Return that version of the model; raises InferqError if it was removed meanwhile."""
    for entry in model.versions:
        if entry.version == version:
            return entry
    raise InferqError(f"version {version} of {model.name} was removed meanwhile")


def _architecture(version: Version) -> str:
    family = version.family
    architecture = version.architecture.removeprefix(f"{family}/")
    return f"{architecture} of {family}" if family and family != architecture else architecture


def _labels(names: list[str]) -> str:
    if not names:
        return ""
    more = "\n…" if len(names) > _FIRST_LABELS else ""
    # A line for each, since labels of ImageNet have commas in them.
    return f"{len(names):,}, of which the first are\n" * bool(more) + "\n".join(names[:_FIRST_LABELS]) + more


def _thresholds(version: VersionDetails) -> str:
    """Return the threshold of all labels, or of the first ones; empty if there is none."""
    thresholds = version.thresholds
    if len(set(thresholds)) < 2:
        return _numbers(thresholds)
    each = zip(version.label_names, thresholds, strict=False)
    more = ", …" if len(thresholds) > _FIRST_LABELS else ""
    return ", ".join(f"{label} {threshold:g}" for label, threshold in islice(each, _FIRST_LABELS)) + more


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
