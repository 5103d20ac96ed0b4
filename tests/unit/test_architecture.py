"""The rules of the layout as tests: which package imports which, and where the words of a wire may occur."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("api", "worker", "shared", "inferq", "migrations", "bench")

FORBIDDEN = {
    "api": ("worker", "inferq", "bench", "torch", "torchvision"),
    "worker": ("api", "inferq", "bench", "flask", "werkzeug"),
    "shared": ("api", "worker", "inferq", "bench", "migrations", "flask", "werkzeug", "torch", "torchvision"),
    "inferq": ("api", "worker", "shared", "migrations", "flask", "torch", "torchvision", "sqlalchemy"),
    "migrations": ("api", "worker", "inferq", "bench", "flask", "torch", "torchvision"),
}
"""Package -> what none of its files may import."""
ALLOWED = {"inferq": ("shared.schemas.", "shared.samples.")}
"""Package -> the parts of a forbidden package that it may import: the client returns what the API writes, and both show
the same photographs."""

ONLY_IN = {
    "flask": ("api/", "bench/peers/"),
    "werkzeug": ("api/",),
    "granian": ("api/",),
    "torch": ("worker/", "bench/"),
    "torchvision": ("worker/", "bench/"),
    "safetensors": ("worker/", "bench/"),
    "timm": ("worker/families/timm.py",),
    "onnx": ("worker/",),
    "onnxruntime": ("worker/", "bench/"),
    "celery": ("worker/", "shared/adapters/queue/", "bench/peers/"),
    "kombu": ("worker/", "shared/adapters/queue/"),
    "redis": ("shared/adapters/queue/",),
    "pydantic_settings": ("shared/settings.py",),
    "msgspec": ("shared/schemas/", "api/", "inferq/"),
    "limits": ("shared/adapters/rate_limits.py",),
    "sqlalchemy": ("shared/adapters/database/", "migrations/"),
    "alembic": ("migrations/",),
    "fsspec": ("shared/adapters/storage.py",),
    "PIL": ("shared/imaging/", "worker/", "bench/"),
    "pillow_heif": ("shared/imaging/heif.py",),
    "jwt": ("shared/services/accounts.py",),
    "opentelemetry": ("shared/adapters/otlp.py",),
    "cryptography": ("shared/services/accounts.py",),
}
"""Library -> the only places that may import it."""

FOREIGN_WORDS = {
    "sap_leonardo": (
        "processedTime", "faultstring", "errorcode", "prodimgclassifier", "inference_sync", "Invalid file type",
        "maxUnimprovedEpochs", "generateTfSummaries", "submissionTime", "completionTime", "modelVersion",
        "0001-01-01T00:00:00.000Z",
    ),
    "einstein_vision": (
        "probabilities", "sampleLocation", "sampleContent", "sampleBase64Content", "numResults", "predictresponse",
        "predictionsRemaining", "apiusage", "Invalid access token", "Invalid authentication scheme", "labelSummary",
        "numOfDuplicates", "statusMsg", "queuePosition", "failureMsg", "trainParams", "trainSplitRatio", "testAccuracy",
        "learningcurve", "expectedLabel",
    ),
    "huggingface": (
        "estimated_time", "inferenceProviderMapping", "hf-inference", "pipeline_tag", "x-compute-type",
        "wait_for_model", "currently loading", "cannot identify image file",
    ),
    "img_processing": (
        "main_label", "main_score", "secondary_labels", "X-Image-Processing-Usage", "docs.img-processing.com",
        "You are not allowed to access this image",
    ),
}  # fmt: skip
"""Dialect -> names of fields and words of complaints that occur in the folder of its wire only."""
MOST_LINES = 400
"""Lines of a source file outside the tests."""
SHIPPED = ("api", "worker", "shared", "inferq", "migrations")
SOURCES = (".py", ".js", ".ts", ".html", ".css", ".mako")


@cache
def files() -> dict[str, ast.Module]:
    """Path below the root -> the parsed file, of everything that is shipped."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def imports(path: str) -> Iterator[tuple[int, str]]:
    """(line, full name of the module) of each import, wherever in the file it stands."""
    package = path.split("/")[:-1]
    for node in ast.walk(files()[path]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def test_there_is_something_to_look_at() -> None:
    for package in PACKAGES:
        assert any(path.startswith(f"{package}/") for path in files()), package
    assert (
        next(name for _, name in imports("shared/container.py") if name == "shared.adapters.storage"),
        next(name for _, name in imports("shared/adapters/queue/connection.py") if name == "redis"),
    ) == ("shared.adapters.storage", "redis")


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files()
        if path.startswith(f"{package}/")
        for line, name in imports(path)
        if name.split(".")[0] in FORBIDDEN[package] and not f"{name}.".startswith(ALLOWED.get(package, (" ",)))
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_where_it_belongs(library: str) -> None:
    imports_found = [(path, line) for path in files() for line, name in imports(path) if name.split(".")[0] == library]
    assert imports_found, f"no file imports {library}: the rule is out of date"
    assert [f"{path}:{line}" for path, line in imports_found if not within(path, ONLY_IN[library])] == []


LAYERS = {
    "shared/domain/": ("shared.errors", "shared.domain"),
    "shared/imaging/": ("shared.errors", "shared.domain", "shared.imaging"),
    "shared/adapters/": ("shared.errors", "shared.settings", "shared.domain", "shared.adapters"),
    "shared/schemas/": ("shared.domain", "shared.schemas"),
    "shared/container.py": ("shared.settings", "shared.adapters"),
    "shared/services/": (
        "shared.errors", "shared.settings", "shared.container", "shared.domain", "shared.imaging", "shared.services",
        "shared.similarity",
    ),
}  # fmt: skip
"""Layer of shared/ -> what of shared/ its files may import. Services get their adapters handed in the container."""


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files()
        if path.startswith(layer)
        for line, name in imports(path)
        if name.startswith("shared.") and not f"{name}.".startswith(tuple(f"{allowed}." for allowed in LAYERS[layer]))
    ]
    assert wrong == []


def test_the_domain_needs_nothing_but_the_standard_library() -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files()
        if path.startswith("shared/domain/")
        for line, name in imports(path)
        if name.split(".")[0] not in (*sys.stdlib_module_names, "shared")
    ]
    assert wrong == []


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_modules() -> dict[str, set[str]]:
    """Module -> modules of the project that it imports, at run time or for the type checker only."""
    modules = {module_of(path) for path in files()}
    return {
        (module := module_of(path)): {
            # `from worker import engine` names the package too, which is loaded before any of its modules anyway.
            name
            for _, name in imports(path)
            if name in modules and not f"{module}.".startswith(f"{name}.")
        }
        for path in files()
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    graph = {module: imported for module, imported in imported_modules().items() if module.split(".")[0] == package}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(graph) <= set(order)


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        path
        for path, tree in files().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name) and node.value.id == "os"
        and path.split("/")[0] in ("api", "worker", "shared", "migrations")
    }  # fmt: skip
    assert readers == {"shared/settings.py"}


@cache
def sources() -> dict[str, str]:
    """Path below the root -> text, of all that is shipped, pages and scripts too."""
    paths = [path for package in SHIPPED for path in (ROOT / package).rglob("*") if path.suffix in SOURCES]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(paths)}


@pytest.mark.parametrize(
    ("dialect", "word"), [(dialect, word) for dialect, words in FOREIGN_WORDS.items() for word in words]
)
def test_foreign_words_stay_at_their_door(dialect: str, word: str) -> None:
    pattern = re.compile(rf"\b{re.escape(word)}\b")
    occurrences = [path for path, text in sources().items() if pattern.search(text)]
    assert occurrences, f"no file has {word!r}: the rule is out of date"
    door = (f"api/dialects/{dialect}.py", f"api/dialects/{dialect}/")
    assert [path for path in occurrences if not within(path, door)] == []


def test_every_foreign_wire_has_words_of_its_own() -> None:
    assert dialects() - {"native"} == set(FOREIGN_WORDS)


def dialects() -> set[str]:
    names = {path.split("/")[2].removesuffix(".py") for path in files() if path.startswith("api/dialects/")}
    return names - {"__init__"}


def test_one_dialect_does_not_know_another() -> None:
    assert dialects() >= {"native", "sap_leonardo"}
    wrong = [
        f"{path}:{line} imports {name}"
        for path in files()
        if path.startswith("api/dialects/") and path != "api/dialects/__init__.py"
        for line, name in imports(path)
        if re.match(r"api\.dialects\.(\w+)", name) and name.split(".")[2] in dialects() - {own(path)}
    ]
    assert wrong == []


def own(path: str) -> str:
    return path.split("/")[2].removesuffix(".py")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    shown = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
def test_a_fresh_interpreter_with_the_api_has_not_loaded_torch(tmp_path: Path) -> None:
    code = (
        "from api.application import create_app\n"
        "from shared.settings import Settings\n"
        "from shared.container import build\n"
        f"create_app(build(Settings(database_url='sqlite:///{tmp_path}/x.db', storage_url='file://{tmp_path}')))"
    )
    loaded = loaded_after(code)
    assert {"api", "flask", "PIL"} <= loaded
    assert loaded & {"torch", "torchvision", "numpy", "worker", "safetensors", "matplotlib"} == set()


@pytest.mark.slow
def test_tracing_that_is_off_loads_no_exporter(tmp_path: Path) -> None:
    # Not OpenTelemetry itself: redis-py loads parts of it, where that is installed.
    code = (
        "import sys\n"
        "from shared.container import build\n"
        "from shared.settings import Settings\n"
        f"build(Settings(database_url='sqlite:///{tmp_path}/x.db', storage_url='file://{tmp_path}'{{}}))\n"
        "parts = ('shared.adapters.otlp', 'opentelemetry.exporter')\n"
        "assert any(name.startswith(parts) for name in sys.modules) is {}"
    )
    loaded_after(code.format("", False))
    loaded_after(code.format(", otlp_endpoint='http://127.0.0.1:9'", True))


@pytest.mark.slow
def test_maintenance_has_not_loaded_torch_before_it_is_needed() -> None:
    loaded = loaded_after("from worker import create_app\nfrom shared.settings import Settings\ncreate_app(Settings())")
    assert {"worker", "celery"} <= loaded
    assert loaded & {"torch", "torchvision", "flask", "api"} == set()


@pytest.mark.slow
def test_the_command_line_loads_neither_side_of_the_service() -> None:
    loaded = loaded_after("import inferq.cli")
    assert {"inferq", "click"} <= loaded
    assert loaded & {"torch", "flask", "celery", "sqlalchemy", "api", "worker", "shared"} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_opens_with_a_sentence(package: str) -> None:
    assert [path for path, tree in files().items() if path.startswith(f"{package}/") and not ast.get_docstring(tree)
            and tree.body] == []  # fmt: skip


def opens_transaction(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read", "write")
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == "database"
    )


def test_msgspec_reads_into_types_in_one_place_which_has_each_built_by_one_thread() -> None:
    calls = ("msgspec.convert(", "msgspec.json.decode(", "msgspec.json.Decoder(")
    found = [path for path in files() if any(call in (ROOT / path).read_text() for call in calls)]
    assert found == ["shared/schemas/decoding.py"]


def test_no_source_file_is_too_long() -> None:
    folders = (*PACKAGES, "docs", "clients/typescript/src")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES]
    assert len(found) > 300
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in found}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_routes_and_tasks_open_no_transactions() -> None:
    """Everything that reads or writes the database goes through a service."""
    opened = {path for path, tree in files().items() for node in ast.walk(tree) if opens_transaction(node)}
    assert "shared/services/jobs.py" in opened, "the rule is out of date"
    assert [path for path in opened if path.startswith(("api/", "worker/"))] == []
