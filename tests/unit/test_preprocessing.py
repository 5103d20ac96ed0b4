"""Preprocessing of an import: presets by name, single values, their effect, and the origin that is reported."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.domain.preprocessing import (
    Origin,
    Preprocessing,
    PreprocessingRequest,
    from_values,
    parse_request,
    to_values,
)
from shared.errors import BadOption
from worker import examination, families, preprocess

pytestmark = pytest.mark.slow

V1 = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ALL = {"resize": 100, "crop": 90, "mean": [0.1, 0.2, 0.3], "std": [1.0]}


def test_an_import_that_says_nothing_asks_for_nothing() -> None:
    assert parse_request(None, {"resize": None, "mean": ""}) is None
    assert parse_request("", {}) is None


@pytest.mark.parametrize("given", [ALL, json.dumps(ALL), json.dumps(ALL | {"preset": ""})])
def test_all_values_need_no_preset(given: object) -> None:
    request = parse_request(given, {})
    assert request
    assert request.complete
    assert request.apply(None) == Preprocessing(100, 90, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


def test_single_values_take_the_place_of_the_presets() -> None:
    request = parse_request(" IMAGENET1K_V1 ", {"resize": "240", "mean": "0.5, 0.4,0.3", "interpolation": "bicubic"})
    assert request == PreprocessingRequest(
        "IMAGENET1K_V1", {"resize": 240, "mean": [0.5, 0.4, 0.3], "interpolation": "bicubic"}
    )
    assert request.apply(V1) == Preprocessing(240, 224, (0.5, 0.4, 0.3), V1.std, "bicubic")


def test_a_file_may_name_its_preset() -> None:
    assert parse_request({"preset": "IMAGENET1K_V1", "crop": 200}, {"crop": 190}) == PreprocessingRequest(
        "IMAGENET1K_V1", {"crop": 190}
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"resize": 0}, "resize must be a whole number of pixels, 1 to 1024, or height and width as 288x384, not 0"),
        ({"crop": "224px"}, "crop must be"),
        ({"crop": True}, "crop must be"),
        ({"crop": 223.5}, "crop must be"),
        ({"mean": [0.5, 0.5]}, "mean must be one number, or three"),
        ({"mean": "a,b,c"}, "mean must be"),
        ({"mean": [float("nan")]}, "mean must be"),
        ({"std": [0.0, 1, 1]}, "std must be above 0, not [0.0, 1, 1]"),
        (
            {"mean": "123.675,116.28,103.53"},
            "mean must be from 0 to 1, since pixels are scaled to 0..1 (times 0.003922)",
        ),
        ({"std": [True, True, True]}, "std must be"),
        (
            {"interpolation": "area"},
            "interpolation must be one of nearest, bilinear, bicubic, lanczos",
        ),
        ({"crop_mode": "left"}, "crop_mode must be one of center, squash, border"),
        ({"mode": "CMYK"}, "mode must be one of RGB, L"),
        ({"size": 224}, "no value 'size'; it has preset, resize, crop, mean"),
        ({"preset": 3}, "preset must be the name"),
        ('{"resize": 256', "preprocessing is not valid JSON"),
        ("[256]", "preprocessing must be the name of a preset, or an object"),
        (["resize"], "preprocessing must be the name of a preset, or an object"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(given: object, complaint: str) -> None:
    with pytest.raises(BadOption) as caught:
        parse_request(given, {})
    assert complaint in caught.value.message


def test_three_numbers_do_not_fit_a_grey_picture() -> None:
    request = parse_request({"mode": "L"}, {})
    assert request
    with pytest.raises(BadOption, match="mean has 3 numbers; a picture in mode L has 1 channels"):
        request.apply(V1)


# preprocessing that a worker chooses

torchvision = families.load("torchvision")


def chosen(request: PreprocessingRequest | None, architecture: str = "resnet50") -> tuple[Preprocessing, str, Origin]:
    preprocessing, preset = examination.choose_preprocessing(families.find(architecture), architecture, request, None)
    return preprocessing, preset.name, preset.origin


def test_the_newest_preset_is_assumed_and_the_others_are_named() -> None:
    preprocessing, preset = examination.choose_preprocessing(torchvision, "resnet50", None, None)
    assert (preset.name, preset.origin) == ("IMAGENET1K_V2", Origin.ASSUMED)
    assert preset.available == ("IMAGENET1K_V1", "IMAGENET1K_V2")
    assert preprocessing == torchvision.preprocessing("resnet50")


def test_a_recognised_file_has_its_own_preset() -> None:
    published = torchvision.identify("0676ba61" + "0" * 56)
    preprocessing, preset = examination.choose_preprocessing(torchvision, "resnet50", None, published)
    assert (preprocessing, preset.name, preset.origin) == (V1, "IMAGENET1K_V1", Origin.RECOGNISED)


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_a_preset_of_any_architecture_can_be_named(name: str) -> None:
    assert chosen(PreprocessingRequest(name)) == (V1, name, Origin.REQUESTED)


def test_torchvisions_presets_serve_other_families_too() -> None:
    request = PreprocessingRequest("ResNet50_Weights.IMAGENET1K_V1", {"resize": 300})
    preprocessing, *_ = chosen(request, "regnetz_005")
    assert (preprocessing.resize, preprocessing.crop) == (300, 224)


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(BadOption, match="resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"):
        chosen(PreprocessingRequest("IMAGENET1K_V3"))


def test_values_without_a_preset_are_put_on_what_would_be_assumed() -> None:
    preprocessing, name, origin = chosen(PreprocessingRequest("", {"resize": 256}))
    assert (preprocessing.resize, name, origin) == (256, "IMAGENET1K_V2", Origin.ASSUMED)
    _, preset = examination.choose_preprocessing(
        torchvision, "resnet50", PreprocessingRequest("", {"resize": 256}), None
    )
    assert preset.changed == ("resize",)
    assert chosen(PreprocessingRequest("", ALL))[1:] == ("", Origin.REQUESTED)


def test_a_tag_of_timms_names_its_preprocessing() -> None:
    assert chosen(None, "resnet18.a3_in1k")[2] is Origin.REQUESTED
    assert chosen(None, "timm/resnet18")[2] is Origin.ASSUMED


# values that networks of other libraries were trained with


def values(**changed: Any) -> Preprocessing:
    plain: dict[str, Any] = {
        "resize": 8,
        "crop": 8,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "nearest",
    }
    return Preprocessing(**plain | changed)


def prepared(picture: Image.Image, preprocessing: Preprocessing) -> np.ndarray[Any, Any]:
    """Return the input (channels, height, width) of a network for a picture that is sent as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    crop = preprocess.crop(preprocess.decode(file.getvalue(), preprocessing), preprocessing)
    return preprocess.normalise(preprocess.stack([crop]), preprocessing)[0].numpy()


def test_channels_and_scale_are_those_of_opencv_where_the_version_says_so() -> None:
    colour = Image.new("RGB", (8, 8), (200, 100, 50))
    means = {"mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0), "scale": 1.0, "channel_order": "BGR"}
    assert prepared(colour, values(**means))[:, 0, 0] == pytest.approx([50 - 104, 100 - 117, 200 - 123])


@pytest.mark.parametrize(("background", "expected"), [("", 0.0), ("#ffffff", 1.0), ("#0000ff", 0.0)])
def test_transparent_pictures_lie_on_the_background_of_the_version(background: str, expected: float) -> None:
    nothing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert prepared(nothing, values(background=background))[0] == pytest.approx(expected)
    assert prepared(nothing, values(background=background))[2] == pytest.approx(1.0 if background else 0.0)


def test_height_and_width_may_differ() -> None:
    picture = Image.new("RGB", (40, 40))
    assert prepared(picture, values(resize=(16, 24), crop=(16, 24))).shape == (3, 16, 24)
    assert prepared(picture, values(resize=(20, 30), crop=(16, 24), crop_mode="squash")).shape == (3, 16, 24)
    assert prepared(picture, values(resize=(16, 24), crop=(16, 24), crop_mode="border")).shape == (3, 16, 24)


def test_the_half_pixel_of_an_odd_margin_goes_where_the_library_puts_it() -> None:
    ramp = Image.fromarray(np.tile(np.arange(11, dtype=np.uint8) * 10, (8, 1))).convert("RGB")
    rounded, floored = (prepared(ramp, values(crop_offset=kind))[0, 0, 0] * 255 for kind in ("round", "floor"))
    assert (round(float(rounded)), round(float(floored))) == (20, 10)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"resize": "288x384", "crop": [256, 320]}, {"resize": (288, 384), "crop": (256, 320)}),
        ({"resize": "256", "crop": [224, 224]}, {"resize": 256, "crop": 224}),
        ({"crop_mode": "centre", "background": "WHITE"}, {"crop_mode": "center", "background": "#ffffff"}),
        ({"scale": "1/127.5", "mean": 1}, {"scale": 1 / 127.5, "mean": [1.0]}),
    ],
)
def test_values_are_read_as_people_write_them(given: dict[str, object], expected: dict[str, object]) -> None:
    request = parse_request(None, given)
    assert request
    assert request.values == expected


def test_stored_values_are_read_back_and_usual_ones_are_left_out() -> None:
    unusual = values(resize=(16, 24), scale=1.0, channel_order="BGR", background="#ffffff", crop_offset="floor")
    assert from_values(json.loads(json.dumps(to_values(unusual)))) == unusual
    assert to_values(values()).keys() == {"resize", "crop", "mean", "std", "interpolation", "mode"}
