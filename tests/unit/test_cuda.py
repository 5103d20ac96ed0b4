"""NVIDIA cards: recorded networks answer as torch does, whatever the size of the batch; what cannot be recorded runs as
before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from shared.domain.engines import EngineErrors
from shared.domain.jobs import BOTH
from shared.domain.models import ModelState, ModelVersion
from shared.domain.preprocessing import Preprocessing
from shared.settings import Settings
from worker import cuda_trial, families, preprocess
from worker.cuda_network import CudaNetwork
from worker.cuda_trial import CudaTrial, Plain
from worker.engine import Loaded

pytestmark = pytest.mark.slow

with_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
SIDE = 32
PREPROCESSING = Preprocessing(SIDE, SIDE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


class Small(nn.Module):
    """A network with a convolution, a norm and a head, whose answers differ from picture to picture."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entering = self.body(x).amax(dim=(2, 3))
        answer: torch.Tensor = self.head(entering)
        return answer


class Curious(Small):
    """A network that looks at its pixels to decide what to do, which no graph can record."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum().item() else super().forward(x + 1)


class Loud(Small):
    """A network whose values are too large for half precision when a whole picture is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loud = torch.relu(x.mean(dim=(1, 2, 3)) - 1.9) * 1e6
        return super().forward(x) + loud[:, None] / 1e6


def built(kind: type[nn.Module] = Small) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval().requires_grad_(False)


def pictures(count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=random)
    scale = torch.linspace(0.1, 1, count).view(-1, 1, 1, 1)
    return list((pixels * scale).to(torch.uint8).permute(0, 3, 1, 2))


def version(**changes: Any) -> ModelVersion:
    made = ModelVersion("v", "*", "small", "1", "", "small", ModelState.READY, 0.0, preprocessing=PREPROCESSING)
    return replace(made, **changes)


def loaded(network: nn.Module, **settings: Any) -> Loaded:
    """Return a model on the card, recorded if that goes well."""
    torch.backends.cudnn.allow_tf32 = False
    chosen = Settings(**{"max_batch": 20} | settings)
    model = Loaded(version(), network, torch.device("cuda", 0), chosen)
    model.warm_up(None)
    model.record(None, chosen)
    return model


def as_torch_does(network: nn.Module, task: str = "classify", **settings: Any) -> Loaded:
    return loaded(network, engine="torch", **settings)


def assert_same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# recorded networks


@pytest.mark.cuda
@with_a_card
@pytest.mark.parametrize("task", ["classify", "features", BOTH])
def test_a_recorded_network_answers_as_torch_does_for_any_number_of_pictures(task: str) -> None:
    recorded, plain = loaded(built()), as_torch_does(built())
    assert (recorded.runtime, plain.runtime) == ("cuda-graphs", "torch")
    for count in (1, 2, 4, 5, 16, 17, 20, 3, 61):
        assert_same(recorded.forward(pictures(count), task), plain.forward(pictures(count), task))


@pytest.mark.cuda
@with_a_card
def test_what_fills_a_piece_up_changes_no_answer() -> None:
    model = loaded(built())
    few = pictures(3)
    before = model.forward(few)
    model.forward([255 - picture for picture in pictures(20)])
    assert torch.equal(model.forward(few), before)


@pytest.mark.cuda
@with_a_card
def test_pieces_keep_their_order() -> None:
    network = built().cuda().to(memory_format=torch.channels_last)
    recorded = CudaNetwork(network, families.head(network)[0], PREPROCESSING, 4)
    together = recorded(pictures(11))
    alone = torch.cat([recorded([picture]) for picture in pictures(11)])
    assert_same(together, alone)
    assert recorded.largest == 4


@pytest.mark.cuda
@with_a_card
def test_several_threads_may_run_it_at_once() -> None:
    model = loaded(built())
    sets = [pictures(count) for count in range(1, 21)]
    expected = [model.forward(inputs) for inputs in sets]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(model.forward, sets * 5))
    for answer, wanted in zip(found, expected * 5, strict=True):
        assert torch.equal(answer, wanted)


@pytest.mark.cuda
@with_a_card
def test_another_model_may_run_while_one_is_recorded() -> None:
    serving, stop = loaded(built()), threading.Event()
    expected, answers = serving.forward(pictures(9)), list[torch.Tensor]()

    def serve() -> None:
        while not stop.is_set():
            answers.append(serving.forward(pictures(9)))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for _ in range(3):
            assert loaded(built()).runtime == "cuda-graphs"
    finally:
        stop.set()
        thread.join()
    assert answers
    assert all(torch.equal(answer, expected) for answer in answers)


@pytest.mark.cuda
@with_a_card
@pytest.mark.timeout(400)
def test_a_recorded_network_gives_its_memory_back() -> None:
    def reserved() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    def serve() -> None:
        model = loaded(built(), max_batch=64, precision="fast")
        assert model.trial
        model.trial.compile()
        assert model.bytes > 64 * 16 * SIDE * SIDE * 2
        assert reserved() > before

    before = 0
    serve()  # the libraries keep something of the first for themselves
    before = reserved()
    for _ in range(2):
        serve()
        assert reserved() <= before


@pytest.fixture
def little_memory() -> Iterator[int]:
    """Leave this process 64 MB of the card more than it has; yields them."""
    gc.collect()
    torch.cuda.empty_cache()
    room = 64 << 20
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)
    yield room
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.cuda
@with_a_card
def test_graphs_too_large_for_the_card_are_halved(little_memory: int) -> None:
    network = built().cuda().to(memory_format=torch.channels_last)
    activations = 16 * SIDE * SIDE * 4
    recorded = CudaNetwork(network, "head", PREPROCESSING, 2 * little_memory // activations)
    assert 1 <= recorded.largest < little_memory // activations
    inputs = pictures(recorded.largest + 3)
    with torch.inference_mode():
        pixels = torch.stack(inputs[:4]).cuda()
        expected = network(preprocess.normalise(pixels, PREPROCESSING)).cpu()
    assert_same(recorded(inputs)[:4], expected)


@pytest.mark.cuda
@with_a_card
def test_a_batch_too_large_for_the_card_is_halved_without_graphs_as_well(little_memory: int) -> None:
    count = 2 * little_memory // (16 * SIDE * SIDE * 4)
    model = Loaded(version(), built(), torch.device("cuda", 0), Settings(max_batch=count))
    assert len(model.forward(pictures(4) * (count // 4))) == count // 4 * 4
    assert model.max_batch < count


@pytest.mark.cuda
@with_a_card
def test_a_network_that_cannot_be_recorded_answers_with_torch_and_says_why() -> None:
    model = loaded(built(Curious))
    assert model.runtime == "torch"
    assert model.trial
    assert list(model.trial.refused) == ["graphs float32"]
    assert model.trial.refused["graphs float32"]
    assert_same(model.forward(pictures(7)), as_torch_does(built()).forward(pictures(7)))
    assert loaded(built()).runtime == "cuda-graphs", "the card is as usable as before"


@pytest.mark.cuda
@with_a_card
def test_fast_is_half_precision_and_stays_close() -> None:
    model, plain = loaded(built(), precision="fast"), as_torch_does(built())
    assert (model.runtime, model.type) == ("cuda-graphs", torch.float16)
    difference = (model.forward(pictures(20)).softmax(1) - plain.forward(pictures(20)).softmax(1)).abs().max()
    assert 0 < difference <= 0.02


@pytest.mark.cuda
@with_a_card
def test_a_picture_that_half_precision_cannot_hold_is_answered_in_float32() -> None:
    network = built(Loud)
    model, plain = loaded(network, precision="fast"), as_torch_does(built(Loud))
    assert model.type is torch.float16
    bright = [torch.full((3, SIDE, SIDE), 255, dtype=torch.uint8)]
    assert_same(model.forward(bright), plain.forward(bright))


@pytest.mark.cuda
@with_a_card
@pytest.mark.timeout(400)
@pytest.mark.skipif(not cuda_trial.can_compile(), reason="needs a C compiler")
def test_a_compiled_network_keeps_the_contract_and_answers_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, plain = loaded(built()), as_torch_does(built())
    assert model.trial
    before = model.trial.network
    monkeypatch.setattr(cuda_trial, "_BETTER", 0.0)
    model.trial.compile()
    assert model.trial.refused == {}
    assert model.trial.network is not before
    for count in (1, 9, 20):
        for task in ("classify", "features"):
            assert_same(model.forward(pictures(count), task), plain.forward(pictures(count), task))


# the trial, without a card


class Pretended:
    """What CudaNetwork is where there is no card: it runs the network, and is wrong by `off` in the type given."""

    off: dict[torch.dtype, float] = {}  # noqa: RUF012  # each test sets its own

    def __init__(
        self, network: nn.Module, head: str, preprocessing: Preprocessing, largest: int, *, compiled: bool = False
    ) -> None:
        self.network, self.type, self.largest, self.compiled = (
            network,
            next(network.parameters()).dtype,
            largest,
            compiled,
        )
        if largest > 1000:
            raise torch.OutOfMemoryError("there is no room")

    def __call__(self, crops: Sequence[torch.Tensor], task: str = "classify") -> torch.Tensor:
        answer = run(built(), crops, task)
        answer[0, 0] += self.off.get(self.type, 0.0)
        return answer


def run(network: nn.Module, crops: Sequence[torch.Tensor], task: str) -> torch.Tensor:
    pixels = torch.stack(list(crops)).float() / 255
    with torch.inference_mode():
        entered: torch.Tensor = network.body(pixels).amax(dim=(2, 3))  # type: ignore[operator]
        answer: torch.Tensor = entered if task == "features" else network.head(entered)  # type: ignore[operator]
    return answer.clone()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Plain:
    """A plain network on the CPU; candidates are pretended, and the later one of two is the faster."""
    monkeypatch.setattr(cuda_trial, "CudaNetwork", Pretended)
    monkeypatch.setattr(Pretended, "off", {})
    rates = iter(range(1, 100))
    monkeypatch.setattr(cuda_trial, "_rate", lambda run, batch: float(next(rates)))
    network = built()
    return Plain(network, "head", PREPROCESSING, lambda crops, task: run(network, crops, task), lambda x: x.softmax(1))


CROPS = pictures(8)


def tried(plain: Plain, largest: int = 8, *, fast: bool = False) -> CudaTrial:
    trial = CudaTrial(plain, CROPS, largest)
    trial.record(fast=fast)
    return trial


def test_float32_is_what_exact_takes(plain: Plain) -> None:
    trial = tried(plain)
    assert trial.network
    assert trial.network.type is torch.float32
    assert set(trial.rates) == {"graphs float32", "torch"}
    assert trial.errors == {"graphs float32": EngineErrors(difference=0, score_difference=0, agreement=1)}
    assert trial.chosen == "graphs float32"


def test_fast_takes_float16_and_leaves_the_plain_network_as_it_is(plain: Plain) -> None:
    trial = tried(plain, fast=True)
    assert trial.network
    assert trial.network.type is torch.float16
    assert next(plain.network.parameters()).dtype is torch.float32


def test_fast_is_bfloat16_where_float16_is_too_narrow(plain: Plain) -> None:
    Pretended.off = {torch.float16: float("inf")}
    trial = tried(plain, fast=True)
    assert trial.network
    assert trial.network.type is torch.bfloat16
    assert "0.0% of the pictures keep their label" in trial.refused["graphs float16"]


def test_fast_is_float32_where_half_precision_keeps_no_contract(plain: Plain) -> None:
    Pretended.off = {torch.float16: 50.0, torch.bfloat16: 50.0}
    trial = tried(plain, fast=True)
    assert trial.network
    assert trial.network.type is torch.float32
    assert "scores differ by" in trial.refused["graphs bfloat16"]


@pytest.mark.parametrize("off", [1.0, float("nan")])
def test_what_gives_other_answers_never_serves(plain: Plain, off: float) -> None:
    Pretended.off = {torch.float32: off, torch.bfloat16: float("nan"), torch.float16: float("nan")}
    trial = tried(plain, fast=True)
    assert trial.network is None
    assert set(trial.refused) == {"graphs float16", "graphs bfloat16", "graphs float32"}
    assert set(trial.rates) == {"torch"}
    trial.compile()
    assert trial.network is None


def test_a_candidate_that_cannot_be_made_is_refused_with_the_reason(plain: Plain) -> None:
    trial = tried(plain, 1001)
    assert trial.network is None
    assert trial.refused == {"graphs float32": "OutOfMemoryError: there is no room"}


@pytest.mark.parametrize(("rates", "is_taken"), [((1, 2, 10, 11), True), ((1, 2, 10, 10.1), False)])
def test_a_compiled_network_is_taken_where_it_is_faster(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], is_taken: bool
) -> None:
    monkeypatch.setattr(cuda_trial, "can_compile", lambda: True)
    measured = iter(rates)
    monkeypatch.setattr(cuda_trial, "_rate", lambda run, batch: next(measured))
    trial = tried(plain)
    trial.compile()
    assert trial.network
    assert vars(trial.network)["compiled"] is is_taken
    assert trial.rates == {"torch": 1, "graphs float32": 10, "graphs float32, compiled": rates[3]}


def test_a_compiled_network_with_other_answers_is_not_taken(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_trial, "can_compile", lambda: True)
    trial = tried(plain)
    before = trial.network
    Pretended.off = {torch.float32: 1.0}
    trial.compile()
    assert trial.network is before
    assert set(trial.refused) == {"graphs float32, compiled"}


def test_nothing_is_compiled_without_a_compiler(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_trial, "can_compile", lambda: False)
    trial = tried(plain)
    before = trial.network
    trial.compile()
    assert (trial.network, trial.refused) == (before, {})
