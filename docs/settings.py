"""`python docs/settings.py` writes settings.md, the table of all settings, from shared/settings.py.

A test fails while the table differs from the code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder is the path, not the project

from shared import settings  # noqa: E402

HEAD = """\
# Settings

Every setting is an environment variable. `inferq up` sets the places itself (data, database, Redis, blobs, host, port)
and passes all other settings on. An invalid value stops the start with one line that names the variable, and so does an
unknown variable `INFERQ_…`. An empty variable counts as not set.

This page is written by `python docs/settings.py`; edit the descriptions in `shared/settings.py`.
"""


def page() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for title, fields in sections():
        lines += [f"## {title[0].upper()}{title[1:]}", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| {variable(name)} | {default(name)} | {meaning(name, words)} |" for name, words in fields]
        lines.append("")
    return "\n".join(lines)


def sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield (title, [(field, description)]); the comments between the fields are the titles."""
    source = Path(settings.__file__).read_text()
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    title, fields, lines = "", list[tuple[str, str]](), source.splitlines()
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = lines[node.lineno - 2].strip()
        if above.startswith("# ") or not above:
            if fields:
                yield title, fields
            title, fields = above[2:] or "the rest", []
        fields.append((node.target.id, docstring(following)))
    yield title, fields


def docstring(node: ast.stmt | None) -> str:
    """Return the docstring of a field on one line; empty if there is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def variable(name: str) -> str:
    """Return the names of the environment variables of a field."""
    usual = settings._USUAL_NAMES.get(name)  # noqa: SLF001 - there is no reason to make it public for this page
    return f"`INFERQ_{name.upper()}`" + (f" or `{usual}`" if usual else "")


def meaning(name: str, words: str) -> str:
    """Return the description, with the allowed range if there is one."""
    allowed = settings.bounds(name)
    if not allowed or settings.choices(name):  # which are explained one by one
        return words
    return f"{words} {allowed[0].upper()}{allowed[1:]}."


def default(name: str) -> str:
    """Return the default as it is written into a variable, also in MiB or days where that is easier to read."""
    value = settings.Settings.model_fields[name].default
    if value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20 and value % 2**20 == 0:
        return f"`{value}` ({value // 2**20} MiB)"
    if isinstance(value, float) and value >= 86_400:
        return f"`{value:g}` ({value / 86_400:g} days)"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(page())
