"""The web pages of the service; they work offline, so they load nothing from other hosts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from flask import (
    Blueprint,
    Request,
    Response,
    current_app,
    jsonify,
    redirect,
    render_template,
    send_file,
    send_from_directory,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from api.auth import public
from api.context import container, link
from api.web import openapi
from shared import errors
from shared.samples import PHOTOS, installed

bp = Blueprint("web", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

POLICY = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy forbids other hosts and inline scripts: the page holds a key, and shows untrusted file names."""
PAGES = (
    ("/", "Try it", "infer"),
    ("/ui/jobs", "Jobs", "infer"),
    ("/ui/fleet", "Fleet", ""),
    ("/ui/models", "Models", ""),
    ("/ui/datasets", "Datasets", ""),
    ("/ui/trainings", "Trainings", ""),
    ("/ui/webhooks", "Webhooks", "infer"),
    ("/ui/keys", "Keys", "keys"),
    ("/docs", "Reference", ""),
)
"""(path, name, needed scope) of the pages that every page leads to."""
SAMPLES_AGE = 86400
"""Seconds for which a browser keeps a sample photograph."""

_TEMPLATES = {name: f"{name}.html" for name in ("try", "reference", "missing")}
_TEMPLATES |= dict.fromkeys(("jobs", "job", "fleet"), "work.html")
_TEMPLATES |= dict.fromkeys(("webhooks", "keys"), "manage.html")
_TEMPLATES |= dict.fromkeys(("models", "model", "version"), "models.html")
"""Page -> its template, if it is not that of most pages."""


@bp.get("/")
@public
def home() -> ResponseReturnValue:
    """Return the front page, on which pictures are classified."""
    about = "Hand over a picture; a model names what it shows, and says how sure it is."
    photos = installed()
    samples = [photo for photo in PHOTOS if photo.name in photos]
    return _page("try", "Try it", "What is in the picture?", about, samples=samples)


@bp.get("/samples/<name>")
@public
def sample(name: str) -> ResponseReturnValue:
    """Return a sample photograph, if the extra `demo` is installed."""
    path = installed().get(name)
    if path is None:
        raise errors.NotFound(f"There is no sample photograph {name}.")
    return send_file(path, max_age=SAMPLES_AGE)


@bp.get("/docs")
@public
def docs() -> ResponseReturnValue:
    """Return the reference: all calls, built from the OpenAPI document, with a form to try each."""
    return _page("reference", "Reference", "Reference")


@bp.get("/ui")
@public
def start() -> ResponseReturnValue:
    """Redirect to `/`."""
    return redirect(link("/"))


@bp.get("/ui/jobs")
@public
def jobs() -> ResponseReturnValue:
    """Return the page of the caller's jobs, newest first, with filters."""
    return _page("jobs", "Jobs", "Jobs", "What was sent, and what came of it.")


@bp.get("/ui/jobs/<job_id>")
@public
def job(job_id: str) -> ResponseReturnValue:
    """Return the page of one job: its timeline, its pictures with their outcomes, and what can be done with it."""
    return _page("job", "Jobs", "Job")


@bp.get("/ui/fleet")
@public
def fleet() -> ResponseReturnValue:
    """Return the page of the fleet: what is wrong, what waits, the workers, and charts of the last hour and day."""
    return _page("fleet", "Fleet", "Fleet", "What is wrong, what waits, who works, and how long it takes.")


@bp.get("/ui/datasets")
@public
def datasets() -> ResponseReturnValue:
    """Return the page of the caller's datasets, with an upload of an archive as a new dataset."""
    return _page("datasets", "Datasets", "Datasets", "Labelled pictures for trainings.")


@bp.get("/ui/datasets/<reference>")
@public
def dataset(reference: str) -> ResponseReturnValue:
    """Return the page of one dataset: labels, pictures, and a form that starts a training."""
    return _page("dataset", "Datasets", "Dataset")


@bp.get("/ui/trainings")
@public
def trainings() -> ResponseReturnValue:
    """Return the page of the caller's trainings with their progress."""
    return _page("trainings", "Trainings", "Trainings", "Each training makes a version of a model from a dataset.")


@bp.get("/ui/trainings/<training_id>")
@public
def training(training_id: str) -> ResponseReturnValue:
    """Return the page of one training: live progress, then the evidence."""
    return _page("training", "Trainings", "Training")


@bp.get("/ui/models")
@public
def models() -> ResponseReturnValue:
    """Return the page of the caller's models and of the catalogue: their versions, an import by upload, aliases."""
    about = "Each answers with its default version; a canary answers a share of the requests."
    return _page("models", "Models", "Models", about)


@bp.get("/ui/models/<name>")
@public
def model(name: str) -> ResponseReturnValue:
    """Return the page of one model: its versions side by side; compare, promote, roll back, and set a canary."""
    return _page("model", "Models", "Model")


@bp.get("/ui/models/<name>/versions/<version>")
@public
def model_version(name: str, version: str) -> ResponseReturnValue:
    """Return the page of one version: state, evidence, engine, preprocessing, labels, and its export."""
    return _page("version", "Models", "Version")


@bp.get("/ui/models/<name>/suggestions")
@public
def suggestions(name: str) -> ResponseReturnValue:
    """Return the page on which the pictures that a model has seen are labelled."""
    return _page("suggestions", "Models", "Worth labelling", "Pictures from which the next training learns most.")


@bp.get("/ui/webhooks")
@public
def webhooks() -> ResponseReturnValue:
    """Return the page of webhooks: deliveries with their ends, a ping of a receiver, the rotation of the secret."""
    return _page("webhooks", "Webhooks", "Webhooks", "What was called back, and how that ended.")


@bp.get("/ui/keys")
@public
def keys() -> ResponseReturnValue:
    """Return the page of keys and tenants: make and revoke keys, see what tenants use, and limit it."""
    return _page("keys", "Keys", "Keys and tenants", "Who may do what, and how much each uses of what it may.")


@bp.get("/openapi.json")
@public
def document() -> ResponseReturnValue:
    """Return this document (OpenAPI 3.1)."""
    described = openapi.describe(current_app, container().settings, _version())
    return jsonify(described | {"servers": [{"url": link("") or "/"}]})


@bp.get("/favicon.ico")
@public
def icon() -> ResponseReturnValue:
    """Return the icon that browsers request for every site."""
    return send_from_directory(str(bp.static_folder), "favicon.svg")


def find_missing_page(request: Request, error: Exception) -> Response | None:
    """Return the page for an address that no route has, if a browser asks for it; None for a client of a wire.

    Browsers accept XHTML when they open a page. HTML alone says less: the HTTP library of Java accepts it by default.
    """
    if not isinstance(error, NotFound) or request.method not in ("GET", "HEAD"):
        return None
    if "application/xhtml+xml" not in request.accept_mimetypes.values():
        return None
    page = _page("missing", "", "There is no such page", path=request.path)
    page.status_code = 404
    page.headers["Vary"] = "Accept"
    return page


def _page(name: str, here: str, title: str, about: str = "", **more: object) -> Response:
    """Return the page whose script has that name. It holds no data: the script fetches them with the entered key."""
    shell = {"root": link(""), "page": name, "here": here, "title": title, "about": about, "pages": PAGES}
    response = Response(render_template(_TEMPLATES.get(name, "shell.html"), **shell, version=_version(), **more))
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _version() -> str:
    try:
        return version("inferq")
    except PackageNotFoundError:  # the package runs from a folder that was never installed
        return "0"
