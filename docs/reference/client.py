"""`python docs/reference/client.py` writes client.md, every method of the Python client, from inferq/client."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from docs.tables import origin, table, write
from inferq import client, errors
from inferq.client.imports import ImportOptions
from inferq.client.mapping import Map
from inferq.client.submission import Options

HEAD = """\
# The Python client

```python
from inferq.client import Client

with Client("http://127.0.0.1:8000", key="...") as client:  # Client() takes INFERQ_URL and INFERQ_KEY
    job = client.jobs.classify("photos/coffee.png")
    print(job.predictions[0].results[0].label)
```

What the methods return has the fields of [the native API](api_native.md#types), as typed objects. A client is
thread-safe. `AsyncClient` has the same methods with the same arguments: they are awaited, and what they yield is for
`async for`. `pip install .` in a checkout installs both, without the service.
[How to use them](../how-to/python.md) has examples.

"""


def pages() -> dict[str, str]:
    """Return name -> text."""
    lines = [HEAD + origin("client", "inferq/client"), "", "## `Client`", ""]
    lines += method("Client", client.Client.__init__)
    for name, kind in get_type_hints(client.Client).items():
        if kind is not str:
            lines += [f"## `client.{name}`", "", inspect.getdoc(kind) or "", ""]
            for called, function in functions(kind):
                lines += method(f"client.{name}.{called}", function)
    for options in (Options, ImportOptions):
        kinds = ((f"`{key}`", f"`{value}`") for key, value in inspect.get_annotations(options).items())
        lines += [
            f"## `{options.__name__}`",
            "",
            inspect.getdoc(options) or "",
            "",
            *table(("option", "type"), map(plain, kinds)),
        ]
    lines += ["## `Map`", "", inspect.getdoc(Map) or "", ""]
    for called, function in functions(Map):
        lines += method(f"Map.{called}", function)
    lines += ["## Webhooks that come in", "", *method("is_genuine", client.is_genuine), "## Errors", ""]
    lines += table(("error", "meaning"), ((f"`{kind.__name__}`", inspect.getdoc(kind) or "") for kind in raised()))
    return {"client.md": "\n".join(lines).rstrip() + "\n"}


def functions(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield (name, function) of the public methods of a class and those it is made of, in the order of the source."""
    for part in (kind, *kind.__bases__):
        for name, function in vars(part).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                yield name, function


def method(name: str, function: Callable[..., Any]) -> Iterator[str]:
    """Yield the lines of a method: its signature and its docstring."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    returned = signature.return_annotation
    shown = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    bare = re.sub(r"""(?<=: )(['"])(.*?)\1(?=[,)]| =)""", r"\2", shown)  # annotations are texts
    arrow = "" if returned in ("None", inspect.Signature.empty) else f" -> {returned}"
    whole = re.sub(r"<function .* at 0x\w+>", "...", f"{name}{bare}{arrow}")
    yield from ("```python", *textwrap.wrap(whole, 110, subsequent_indent="    ", break_on_hyphens=False), "```", "")
    yield from (inspect.getdoc(function) or "", "")


def plain(row: tuple[str, str]) -> tuple[str, str]:
    """Return a row whose type is written as in the source, not as a forward reference."""
    return row[0], re.sub(r"""ForwardRef\((['"])(.*?)\1(?:, .*)?\)""", r"\2", row[1])


def raised() -> Iterator[type[errors.InferqError]]:
    """Yield the errors that methods of the client raise, the base first."""
    yield errors.InferqError
    for name in client.__all__:
        kind = getattr(client, name)
        if isinstance(kind, type) and issubclass(kind, errors.InferqError) and kind is not errors.InferqError:
            yield kind


if __name__ == "__main__":
    write(pages())
