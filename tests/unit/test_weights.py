"""Weights of callers: read without running code, refused with a reason, downloaded whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.domain.preprocessing import Preprocessing
from shared.errors import BadOption, BadWeights, Unavailable
from tests.unit.model_file_reader import read_weights
from worker import download, examination, families, weights
from worker.examination import Wanted
from worker.families import digits, torchvision

pytestmark = pytest.mark.slow

Handler = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """A state dict that fits squeezenet1_1 with five outputs."""
    torch.manual_seed(0)
    return torchvision.build("squeezenet1_1", 5, 224).state_dict()


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadWeights) as caught:
        read_weights(path)
    return caught.value.message


# reading


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_new_and_old_are_read(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_weights(tmp_path / "w.pth")["a"], torch.arange(3.0))


def test_safetensors_are_recognised_by_their_bytes(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "misnamed.pth")
    assert torch.equal(read_weights(tmp_path / "misnamed.pth")["a"], torch.arange(3.0))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_what_training_scripts_put_around_the_tensors_is_taken_off(tmp_path: Path, wrapper: str) -> None:
    state = {"module.a": torch.ones(1), "module.b": torch.ones(1)}
    path = saved({"epoch": 3, wrapper: state, "best": 0.9}, tmp_path / "w.pth")
    assert read_weights(path).keys() == {"a", "b"}


class Hostile:
    """An object that runs a command of the system when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


class Careless:
    """An object that creates a file when it is unpickled, by names that harmless objects have too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_an_object_that_is_not_known_to_be_hostile_does_not_run_either(tmp_path: Path) -> None:
    path = saved({"state_dict": {"a": torch.ones(1)}, "b": Careless(tmp_path / "ran")}, tmp_path / "w.pth")
    assert read_weights(path).keys() == {"a"}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [torch.save, lambda saved, path: path.write_bytes(pickle.dumps(saved, 2))])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path: Path, save: Callable[..., None]) -> None:
    save({"a": torch.ones(1), "b": Hostile(tmp_path / "ran")}, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "could run code" in message
    assert "torch.save(model.state_dict(), FILE)" in message
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_refused_with_its_class(tmp_path: Path) -> None:
    path = saved(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(path)


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"PK\3\4" + b"x" * 50, b"\xff\xd8\xff" + b"x" * 50, b"\x10" + b"\0" * 7 + b"{ nonsense"]
)
def test_files_that_are_no_weights_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w").write_bytes(data)
    assert refusal(tmp_path / "w")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name, save in (("a", torch.save), ("b", save_file)):
        save({"a": torch.ones(1000)}, tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-500])
        assert refusal(tmp_path / name)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(tmp_path: Path, bad: float) -> None:
    path = saved({"a": torch.ones(2), "b": torch.tensor([1.0, bad]).half()}, tmp_path / "w.pth")
    assert "'b' contains NaN or infinite" in refusal(path)


def test_one_number_declared_a_huge_tensor_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = saved({"a": torch.ones(1).expand(10**7, 10**6)}, tmp_path / "w.pth")
    assert "larger than the whole file" in refusal(path)


def test_things_that_are_not_plain_tensors_are_refused(tmp_path: Path) -> None:
    assert "'epoch' is not a tensor but int" in refusal(saved({"a": torch.ones(1), "epoch": 3}, tmp_path / "1"))
    assert "sparse" in refusal(saved({"a": torch.eye(3).to_sparse()}, tmp_path / "2"))
    assert "no tensors by name" in refusal(saved([torch.ones(1)], tmp_path / "3"))


# fitting


def test_weights_that_fit_are_taken_bit_for_bit(small: dict[str, torch.Tensor]) -> None:
    network = weights.assemble(torchvision, "squeezenet1_1", torchvision.preprocessing("squeezenet1_1"), small)
    assert all(torch.equal(tensor, small[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert weights.outputs(network) == 5


def test_missing_extra_and_misshapen_tensors_are_named(small: dict[str, torch.Tensor]) -> None:
    state = dict(small, extra=torch.ones(1), **{"features.0.weight": torch.ones(64, 1, 3, 3)})
    del state["features.0.bias"]
    with pytest.raises(BadWeights) as caught:
        weights.fit(torchvision.build("squeezenet1_1", 5, 224), state)
    assert "1 is missing (features.0.bias)" in caught.value.message
    assert "1 is not part of it (extra)" in caught.value.message
    assert "(features.0.weight: (64, 1, 3, 3) instead of (64, 3, 3, 3))" in caught.value.message


def test_a_long_list_of_faults_is_counted_and_not_written_out(small: dict[str, torch.Tensor]) -> None:
    with pytest.raises(BadWeights, match=r"52 are not part of it .*, and 49 more") as caught:
        weights.fit(digits.build("digits", 10, 32), small)
    assert len(caught.value.message) < 1000


def test_half_precision_is_widened_and_batch_counters_may_be_missing() -> None:
    network = digits.build("digits", 10, 32)
    state = {name: t.half() for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights.fit(network, state)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_integers_do_not_pass_for_weights(small: dict[str, torch.Tensor]) -> None:
    state = dict(small, **{"features.0.bias": torch.ones(64, dtype=torch.int8)})
    with pytest.raises(BadWeights, match=r"features.0.bias: \(64,\) integers instead of \(64,\)"):
        weights.fit(torchvision.build("squeezenet1_1", 5, 224), state)


@pytest.mark.parametrize("architecture", ["mnasnet0_5", "googlenet", "swin_t", "regnet_x_400mf", "vit_b_32"])
def test_safetensors_of_awkward_architectures_fit_themselves(architecture: str) -> None:
    preprocessing = torchvision.preprocessing(architecture)
    with families.hollow():
        shapes = torchvision.build(architecture, 3, preprocessing.crop).state_dict()
    state = {name: torch.zeros(t.shape, dtype=t.dtype) if t.is_meta else t for name, t in shapes.items()}
    network = weights.assemble(torchvision, architecture, preprocessing, state)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


# labels


def test_labels_must_be_as_many_as_the_outputs_and_not_empty() -> None:
    weights.check_labels(2, ["crane", "crane"])
    with pytest.raises(BadWeights, match="3 outputs, but 2 labels"):
        weights.check_labels(3, ["a", "b"])
    with pytest.raises(BadWeights, match="Label 2 is empty"):
        weights.check_labels(2, ["a", " "])


# writing and examining


def test_writing_twice_gives_the_same_bytes_even_for_tied_weights(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    first = weights.write({"b": tied.T, "a": tied}, tmp_path / "1")
    assert first == weights.write({"a": tied, "b": tied.T}, tmp_path / "2")
    assert first == hashlib.sha256((tmp_path / "1").read_bytes()).hexdigest()
    assert torch.equal(load_file(tmp_path / "1")["b"], tied.T)


def test_the_example_is_always_the_same() -> None:
    assert examination.example() == examination.example()


def test_an_import_becomes_a_checked_version(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    path = saved({"state_dict": {f"module.{name}": t.half() for name, t in small.items()}}, tmp_path / "w.pth")
    examined = examination.examine(path, tmp_path, Wanted("squeezenet1_1", labels=list("abcde")))
    assert (examined.family, examined.labels) == ("torchvision", tuple("abcde"))
    assert examined.preprocessing == torchvision.preprocessing("squeezenet1_1")
    assert examined.checksum == weights.checksum(examined.path)
    assert load_file(examined.path).keys() == small.keys()
    assert len(examined.example_logits) == 5
    assert examined.example_png.startswith(b"\x89PNG")


def test_preprocessing_can_be_given(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    given = Preprocessing(64, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    examined = examination.examine(
        saved(small, tmp_path / "w"), tmp_path, Wanted("squeezenet1_1", labels=list("abcde"), preprocessing=given)
    )
    assert examined.preprocessing == given


def test_the_shipped_digits_pass_their_own_examination(tmp_path: Path) -> None:
    shipped = families.pretrained("digits")
    assert shipped
    assert shipped.path
    examined = examination.examine(shipped.path, tmp_path, Wanted("digits", published=True))
    assert examined.labels == tuple("0123456789")
    assert examined.checksum == digits.card()["sha256"]


@pytest.mark.parametrize("labels", [None, "imagenet"])
def test_imagenet_labels_need_a_thousand_outputs(
    tmp_path: Path, small: dict[str, torch.Tensor], labels: str | None
) -> None:
    with pytest.raises(BadWeights, match="Give a labels file with 5 lines"):
        examination.examine(
            saved(small, tmp_path / "w"), tmp_path, Wanted("squeezenet1_1", labels=[labels] if labels else ())
        )


def test_a_thousand_outputs_alone_do_not_make_the_labels_those_of_imagenet(tmp_path: Path) -> None:
    path = saved(torchvision.build("squeezenet1_1", 1000, 224).state_dict(), tmp_path / "w")
    with pytest.raises(BadWeights) as caught:
        examination.examine(path, tmp_path, Wanted("squeezenet1_1"))
    assert caught.value.message == (
        "The weights have 1000 outputs, and no labels lie beside them. Give a labels file with 1000 lines, or `labels` "
        "imagenet."
    )
    assert examination.examine(path, tmp_path, Wanted("squeezenet1_1", published=True)).labels[0] == "tench"


def test_a_file_that_is_recognised_has_its_published_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(torchvision.build("squeezenet1_1", 1000, 224).state_dict(), tmp_path / "w")
    monkeypatch.setattr(torchvision, "identify", lambda sha256: torchvision.pretrained("squeezenet1_1"))
    assert examination.examine(path, tmp_path, Wanted("squeezenet1_1")).labels[0] == "tench"


def test_imagenet_labels_come_from_torchvision(tmp_path: Path) -> None:
    state = torchvision.build("squeezenet1_1", 1000, 224).state_dict()
    examined = examination.examine(saved(state, tmp_path / "w"), tmp_path, Wanted("squeezenet1_1", labels=["imagenet"]))
    assert (len(examined.labels), examined.labels[0]) == (1000, "tench")


def test_the_wrong_number_of_labels_and_an_unknown_architecture_are_refused(
    tmp_path: Path, small: dict[str, torch.Tensor]
) -> None:
    path = saved(small, tmp_path / "w")
    with pytest.raises(BadWeights, match="5 outputs, but 2 labels"):
        examination.examine(path, tmp_path, Wanted("squeezenet1_1", labels=["a", "b"]))
    with pytest.raises(BadOption, match="squeezenet1_1"):
        examination.examine(path, tmp_path, Wanted("squeezenet", labels=["a", "b"]))


# fetching


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], str]]:
    """A function that starts a server, which answers GET with the given function, and returns its URL."""
    servers = []

    def start(answer: Handler) -> str:
        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *args: object) -> None:
                """Write no log of requests."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/w-0000.pth"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


BODY = bytes(range(256)) * 9000
CHECKSUM = hashlib.sha256(BODY).hexdigest()


def whole(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BODY)))
    request.end_headers()
    request.wfile.write(BODY)


def short(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BODY) + 1))
    request.end_headers()
    request.wfile.write(BODY)


def absent(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_error(404)


def failed_fetch(url: str, prefix: str, folder: Path, timeout: float = 5.0) -> str:
    with pytest.raises(Unavailable) as caught:
        download.fetch(url, prefix, folder / "w.pth", timeout)
    assert list(folder.iterdir()) == []
    assert "give `weights`, `architecture` and `labels`" in caught.value.message
    return caught.value.message


def test_a_download_arrives_whole_and_reports_its_progress(tmp_path: Path, serve: Callable[[Handler], str]) -> None:
    reports: list[tuple[int, int | None]] = []
    download.fetch(
        serve(whole), CHECKSUM[:8], tmp_path / "w.pth", 5.0, lambda done, total: reports.append((done, total))
    )
    assert (tmp_path / "w.pth").read_bytes() == BODY
    assert reports == sorted(reports)
    assert reports[-1] == (len(BODY), len(BODY))
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("answer", "prefix", "why"),
    [(whole, "00000000", "wrong checksum"), (absent, CHECKSUM, "404"), (short, CHECKSUM, "peer closed connection")],
)
def test_a_failed_download_leaves_nothing_and_says_why(
    tmp_path: Path, serve: Callable[[Handler], str], answer: Handler, prefix: str, why: str
) -> None:
    url = serve(answer)
    message = failed_fetch(url, prefix, tmp_path)
    assert why in message
    assert url.split("/")[2] in message


def test_a_server_that_never_answers_counts_as_absent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer in time" in failed_fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/w", "", tmp_path, 0.1)


def test_a_port_on_which_no_server_listens_counts_as_absent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    assert "refused" in failed_fetch(f"http://127.0.0.1:{port}/w", "", tmp_path)


def test_a_download_that_has_begun_is_given_more_patience(tmp_path: Path, serve: Callable[[Handler], str]) -> None:
    def slow(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(BODY)))
        request.end_headers()
        request.wfile.write(BODY[:1000])
        threading.Event().wait(0.5)  # longer than the timeout below
        request.wfile.write(BODY[1000:])

    download.fetch(serve(slow), CHECKSUM, tmp_path / "w.pth", 0.2)
    assert (tmp_path / "w.pth").read_bytes() == BODY
