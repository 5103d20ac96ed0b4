"""`/v1/models/{name}/seen-pictures` and `/suggestions`: keep what a model sees, and label what is most worth it."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope
from api.dialects.native.openapi.operations import IF_NONE_MATCH, Body, Media, OperationsBlueprint, operation
from api.dialects.native.requests.common import find_dataset, parse_json, right_labels
from api.dialects.native.serializers import datasets as dataset_serializers
from api.dialects.native.serializers import suggestions as serializers
from api.dialects.native.serializers.common import respond
from shared.imaging import images
from shared.schemas import suggestions as schemas
from shared.schemas.datasets import Example
from shared.services import suggestions

bp = OperationsBlueprint("native-suggestions", __name__)
_SEEN = "/v1/models/<name>/seen-pictures"
_ONE = "/v1/models/<name>/suggestions/<suggestion_id>"


@bp.get(_SEEN)
@operation("getSeenPictures", "Suggestions", {200: ("What is kept.", schemas.SeenPictures)})
def seen(name: str) -> Response:
    """Look at what is kept of the pictures that a model sees."""
    return respond(serializers.seen_pictures(suggestions.get(container(), caller().tenant, name)))


@bp.put(_SEEN)
@scope("models")
@operation(
    "keepSeenPictures",
    "Suggestions",
    {200: ("They are kept from now on.", schemas.SeenPictures)},
    body=Body(json=schemas.SeenPicturesRequest, example={"most": 1000, "days": 30}),
)
def keep(name: str) -> Response:
    """Keep pictures that a model sees.

    Those that jobs of the caller's tenant send to it, and that seem worth labelling: the scores of their labels do not
    decide, or its rejection rule finds them unlike the training. Each is kept once, also after its job is deleted by
    age, and counts among the bytes that the tenant keeps. It goes when its job is erased, when it was not seen for that
    many days, with the model, and when this choice is taken back. Workers know of the choice within two seconds.
    """
    wanted = parse_json(schemas.SeenPicturesRequest)
    kept = suggestions.choose(container(), caller().tenant, name, wanted.most, wanted.days)
    return respond(serializers.seen_pictures(kept))


@bp.delete(_SEEN)
@scope("models")
@operation("dropSeenPictures", "Suggestions", {204: ("None are kept, and those that were are removed.", None)})
def drop(name: str) -> ResponseReturnValue:
    """Keep no pictures that a model sees, and remove those that are kept."""
    suggestions.take_back(container(), caller().tenant, name)
    return "", 204


@bp.post("/v1/models/<name>/suggestions")
@scope("models")
@operation(
    "suggestPictures",
    "Suggestions",
    {200: ("The pictures.", schemas.SuggestionList)},
    body=Body(json=schemas.SuggestionsRequest, example={"limit": 20}),
)
def suggest(name: str) -> Response:
    """Suggest pictures to be labelled.

    Of the kept pictures, those that are most worth it: uncertain or unlike the training, and different from each other
    by the features of the model. Pictures of the dataset that the version was trained on are left out, as are those
    that were labelled or dismissed, and near-duplicates. The same question has the same answer until something changes.
    409 if the tenant has not chosen to keep pictures.
    """
    wanted = parse_json(schemas.SuggestionsRequest)
    found = suggestions.suggest(container(), caller().tenant, name, wanted.version, wanted.limit)
    return respond(serializers.suggestions(found))


@bp.get(f"{_ONE}/picture")
@scope("models")
@operation(
    "getSuggestedPicture",
    "Suggestions",
    {200: ("The bytes as they were sent.", Media(["image/*"])), 304: ("It has not changed.", None)},
    headers=[IF_NONE_MATCH],
)
def picture(name: str, suggestion_id: str) -> ResponseReturnValue:
    """Fetch a suggested picture."""
    found, data = suggestions.read(container(), caller().tenant, name, suggestion_id)
    response = Response(data, mimetype=images.media_type(data))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"  # it may be erased at any time
    response.set_etag(found.sha256)
    return response.make_conditional(request)


@bp.post(_ONE)
@scope("models")
@operation(
    "labelSuggestion",
    "Suggestions",
    {201: ("The example.", Example)},
    body=Body(json=schemas.SuggestionLabel, example={"label": "duck"}),
)
def label(name: str, suggestion_id: str) -> Response:
    """Label a suggested picture.

    It becomes an example of the dataset, for trainings to learn from and never to be tested on, since it was chosen for
    being difficult. It is suggested no more.
    """
    wanted = parse_json(schemas.SuggestionLabel)
    labels = right_labels(wanted.label, wanted.labels)
    dataset, limits = find_dataset(wanted.dataset), reading.limits(container().settings)
    example = suggestions.label(
        container(), caller().tenant, name, suggestion_id, labels, dataset.id if dataset else None, limits
    )
    return respond(dataset_serializers.example(example), 201, location=dataset_serializers.example_path(example))


@bp.delete(_ONE)
@scope("models")
@operation("dismissSuggestion", "Suggestions", {204: ("It is suggested no more.", None)})
def dismiss(name: str, suggestion_id: str) -> ResponseReturnValue:
    """Dismiss a suggested picture.

    Copies of it are not suggested either, and its bytes are removed.
    """
    suggestions.dismiss(container(), caller().tenant, name, suggestion_id)
    return "", 204
