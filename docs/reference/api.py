"""`python docs/reference/api.py` writes a page for each wire, with every call, from /openapi.json."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from api.application import create_app
from docs.tables import origin, table, write
from shared.container import build
from shared.settings import Settings

WIRES = {
    "SAP Leonardo": ("api_sap_leonardo.md", "Moving: [from SAP Leonardo](../moving/sap-leonardo.md)."),
    "Einstein Vision": ("api_einstein_vision.md", "Moving: [from Einstein Vision](../moving/einstein-vision.md)."),
    "Hugging Face": ("api_hugging_face.md", "Moving: [from Hugging Face](../moving/hugging-face.md)."),
    "IMG Processing": ("api_img_processing.md", "Moving: [from IMG Processing](../moving/img-processing.md)."),
}
"""Tag of a wire -> its page, and a sentence. All other calls are those of the native wire."""
LEFT_OUT = "Pages"
"""The tag of what browsers load."""
METHODS = ("get", "post", "put", "patch", "delete")
ABOUT = "[The wires](../wires.md) compares all five; `/docs` of a running service tries the calls out."
Part = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Return name -> text."""
    document = described()
    tags = {tag["name"]: tag.get("description", "") for tag in document["tags"]}
    native = [name for name in tags if name not in WIRES and name != LEFT_OUT]
    texts = {"api_native.md": page(document, "The native API", f"Paths begin with `/v1`. {ABOUT}", native, tags)}
    for name, (file, moving) in WIRES.items():
        texts[file] = page(document, f"The API of {name}", f"{tags[name]} {moving} {ABOUT}", [name], tags)
    return texts


def described() -> dict[str, Any]:
    """Return the OpenAPI document of a service with the default settings."""
    with tempfile.TemporaryDirectory() as folder:
        container = build(Settings(database_url=f"sqlite:///{folder}/inferq.db", storage_url=f"file://{folder}/blobs"))
        document = create_app(container).test_client().get("/openapi.json").get_json()
        container.close()
    return dict(document)


def page(document: Part, title: str, about: str, tags: list[str], descriptions: Mapping[str, str]) -> str:
    """Return the page with the calls of these tags, and then the types that they use."""
    calls = grouped(document, tags)
    lines = [f"# {title}", "", about, "", origin("api", "/openapi.json"), ""]
    for tag in tags:
        if len(tags) > 1:
            lines += [f"## {tag}", "", descriptions[tag], ""]
        for (of, method, *_), (paths, call) in calls.items():
            if of == tag:
                lines += described_call(method, paths, call, "###" if len(tags) > 1 else "##")
    schemas = document["components"]["schemas"]
    names = sorted(reachable([call for _, call in calls.values()], schemas), key=str.lower)
    lines += ["## Types", ""]
    for name in names:
        lines += described_type(name, schemas[name])
    return "\n".join(lines).rstrip() + "\n"


def grouped(document: Part, tags: list[str]) -> dict[tuple[str, ...], tuple[list[str], Part]]:
    """Return (tag, method, what it says) -> (paths, call); the same call at several paths is shown once."""
    groups: dict[tuple[str, ...], tuple[list[str], Part]] = {}
    for path, methods in document["paths"].items():
        for method in METHODS:
            call = methods.get(method)
            if call and call["tags"][0] in tags:
                key = (call["tags"][0], method, call["summary"], call.get("description", ""))
                groups.setdefault(key, ([], call))[0].append(path)
    return groups


def described_call(method: str, paths: list[str], call: Part, marks: str) -> Iterator[str]:
    """Yield the lines of a call."""
    yield from (f"{marks} {call['summary']}", "", "```text", *(f"{method.upper()} {path}" for path in paths), "```", "")
    if call.get("description"):
        yield from (call["description"], "")
    yield from table(("parameter", "in", "type", "meaning"), map(parameter, call.get("parameters", [])))
    body = call.get("requestBody")
    if body:
        forms = (f"`{media}`: {kind(content.get('schema', {}))}" for media, content in body["content"].items())
        yield from (f"Body{'' if body.get('required') else ', which may be left out'}: {', or '.join(forms)}.", "")
    yield from table(("status", "answer", "meaning"), map(answer, call["responses"].items()))


def parameter(each: Part) -> tuple[str, str, str, str]:
    """Return the cells of a parameter."""
    return f"`{each['name']}`", each["in"], kind(each["schema"]), meaning(each["schema"], each.get("description", ""))


def answer(each: tuple[str, Part]) -> tuple[str, str, str]:
    """Return the cells of an answer."""
    status, response = each
    forms = (kind(content.get("schema", {})) for content in response.get("content", {}).values())
    return "any other" if status == "default" else status, ", or ".join(forms), response["description"]


def described_type(name: str, schema: Part) -> Iterator[str]:
    """Yield the lines of a type."""
    yield from (f"### Type {name}", "")
    if schema.get("description"):
        yield from (schema["description"], "")
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    if not fields:
        yield from (f"{kind(schema)}.", "")
    yield from table(
        ("field", "type", "meaning"),
        ((f"`{key}`{' *' if key in required else ''}", kind(value), meaning(value)) for key, value in fields),
    )
    if set(required) & {key for key, _ in fields}:
        yield from ("\\* is always there.", "")


def kind(schema: Part) -> str:
    """Return the type that a schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#type-{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(map(kind, schema[several]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return named(schema.get("type", "anything"), schema)


def named(name: str | list[str], schema: Part) -> str:
    """Return the name of a simple type, or of several."""
    if isinstance(name, list):
        return " or ".join(named(each, schema) for each in name)
    if name == "array":
        return f"list of {kind(schema.get('items', {}))}"
    words = {"string": "text", "integer": "whole number", "object": "object", "boolean": "true or false"}
    return "bytes" if schema.get("format") == "binary" else words.get(name, name)


def meaning(schema: Part, described: str = "") -> str:
    """Return what is said of a field, with its limits, its default and an example."""
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    limits |= {"maxLength": "at most, in characters:"}
    parts = [described or schema.get("description", "")]
    bounds = [f"{word} {schema[key]:g}" for key, word in limits.items() if key in schema]
    if bounds:
        parts.append(f"{' '.join(bounds)[0].upper()}{' '.join(bounds)[1:]}.")
    if schema.get("default") not in (None, "", [], {}):
        parts.append(f"Default: `{json.dumps(schema['default'])}`.")
    elif schema.get("examples"):
        parts.append(f"As in `{json.dumps(schema['examples'][0], ensure_ascii=False)}`.")
    return " ".join(filter(None, parts))


def reachable(parts: Any, schemas: Mapping[str, Part]) -> set[str]:
    """Return the names of all types that these parts of the document refer to, directly or by other types."""
    found: set[str] = set()
    left = [parts]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in found:
                found.add(name)
                left.append(schemas[name])
            left += each.values()
        elif isinstance(each, list):
            left += each
    return found


if __name__ == "__main__":
    write(pages())
