"""`python clients/typescript/generate.py` writes src/types.ts, the types of its client, from /openapi.json."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from docs.reference.api import described, reachable
from inferq.client.mapping import PICTURE_CODES

TYPES = Path(__file__).resolve().parent / "src" / "types.ts"
ROOTS = ("Job", "JobRequest", "StreamedPrediction", "Problem")
"""Types that the client reads or writes, some of which no call refers to."""
HEAD = """\
/** The types of the native API, written by `python clients/typescript/generate.py` from `/openapi.json`. */
"""
Schema = Mapping[str, Any]


def types() -> str:
    """Return the text of types.ts."""
    document = described()
    schemas = document["components"]["schemas"]
    roots = [{"$ref": f"#/components/schemas/{name}"} for name in ROOTS]
    names = sorted(reachable(roots, schemas))
    parts = [HEAD, *("\n".join(declaration(name, schemas[name])) + "\n" for name in names)]
    codes = "\n".join(f'  "{code}",' for code in sorted(PICTURE_CODES))
    parts.append(
        "/** Codes of refusals for which single pictures are the reason. */\n"
        f"export const PICTURE_CODES = [\n{codes}\n] as const;\n"
    )
    return "\n".join(parts)


def declaration(name: str, schema: Schema) -> Iterator[str]:
    """Yield the lines of a type: an interface for an object, a name for anything else."""
    yield from comment(schema.get("description", ""), "")
    if schema.get("type") != "object" or "properties" not in schema:
        yield f"export type {name} = {type_of(schema)};"
        return
    yield f"export interface {name} {{"
    required = schema.get("required", ())
    for field, kind in schema["properties"].items():
        yield from comment(kind.get("description", ""), "  ")
        yield f"  {field}{'' if field in required else '?'}: {type_of(kind)};"
    yield "}"


def type_of(schema: Schema) -> str:
    """Return a schema as a type; raises ValueError for a keyword that it does not know how to write."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(type_of, schema["anyOf"])))
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    kinds = schema.get("type", [])
    return " | ".join(simple(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)) or "unknown"


def simple(kind: str, schema: Schema) -> str:
    """Return one of the types of JSON Schema as a type."""
    if kind == "array":
        item = type_of(schema.get("items", {}))
        return f"({item})[]" if " " in item else f"{item}[]"
    if kind == "object":
        if "properties" in schema:
            raise ValueError(f"an object without a name is not written: {schema}")
        values = schema.get("additionalProperties")
        return f"Record<string, {type_of(values) if isinstance(values, Mapping) else 'unknown'}>"
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}[kind]


def comment(text: str, indent: str) -> Iterator[str]:
    """Yield the lines of a comment; none for an empty text."""
    if not text:
        return
    if len(text) < 108:
        yield f"{indent}/** {text} */"
        return
    yield f"{indent}/**"
    yield from (f"{indent} * {line}" for line in textwrap.wrap(text, 110))
    yield f"{indent} */"


if __name__ == "__main__":
    TYPES.write_text(types())
