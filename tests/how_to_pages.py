"""What the commands of the how-to pages and of the pages for operators need, and which of them no test can run."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests import digit_images, stacks
from tests.page_runner import ROOT, Step, blocks, run, steps
from tests.picture_files import truncated_png
from tests.stacks import Stack, until

PAGES = (
    "how-to/train.md", "how-to/multi_label.md", "how-to/growing.md", "how-to/models.md", "how-to/classify.md",
    "how-to/command_line.md", "how-to/webhooks.md", "how-to/install.md", "operations/deploy.md",
    "how-to/keys.md",  # the last one: it creates the first key, and from then on every request needs one
)  # fmt: skip
"""The pages whose commands run, in an order in which each finds the models and datasets of those before it."""

NETWORK = "needs the internet"
DOCKER = "needs Docker; its variables are compared with the settings by tests/unit/test_docs.py"
LARGE = "needs weights of 100 MB; tests/unit/test_model_files.py imports such files of small networks"
HOURS = "takes minutes to hours; its command is tested in "
NOT_RUN = {
    "inferq models add resnet50": NETWORK,
    "inferq models import birds --weights last.ckpt --arch resnet50 --labels birds.txt --check robin.jpg=robin": LARGE,
    "inferq models import photos --weights resnet50-0676ba61.pth --arch resnet50 --labels imagenet": LARGE,
    "inferq logs -f": "follows the logs until Ctrl-C; tests/unit/test_operator_cli.py runs it",
    "docker compose up --build --scale worker=4": DOCKER,
    "docker compose --profile gpu up --build --scale worker=0 --scale trainer=0": DOCKER,
    "docker compose build": DOCKER,
    "docker compose up migrate": DOCKER,
    "docker compose up --no-deps --detach --scale worker=4 worker trainer keeper": DOCKER,
    "docker compose up --no-deps --detach api": DOCKER,
    "inferq bench --peers --part digits --part devices": f"{HOURS}tests/unit/test_bench.py",
    "inferq bench --peers --part peers --rounds 1 --weights mobilenet_v2.safetensors --save":
        f"{HOURS}tests/unit/test_bench.py",
    "inferq chaos --seed 1": f"{HOURS}tests/acceptance/test_chaos.py",
    "inferq chaos --minutes 60 --database postgresql://postgres@127.0.0.1:5432/postgres":
        f"{HOURS}tests/acceptance/test_chaos.py",
    'inferq chaos --fault "worker killed" --fault "Redis away"': f"{HOURS}tests/acceptance/test_chaos.py",
    "from inferq.client import is_genuine": "is a part of a receiver; tests/unit/test_webhooks_client.py runs it",
}  # fmt: skip
"""Commands, and first lines of Python, that no test runs as the page shows them -> why not."""

KEY_OF_APP = 'import json, sys; print(next(key["id"] for key in json.load(sys.stdin) if key["name"] == "app"))'
QUICK = "--base digits --epochs 3"
INSTEAD = {
    # The trainings of the pages take the best base that is ready, whose features cost a core half a minute.
    **{
        f"inferq train {rest}": f"inferq train {rest} {QUICK}"
        for rest in (
            "mugs --name cups", "mugs --name cups --reject-below-precision 0.9 --unknown-label unknown",
            "beaches --name beaches", "flowers --name flowers",
        )
    },
    "inferq models drift numbers": "inferq models drift flowers",  # days of traffic are not had in a test
    "inferq models alias google/vit-base-patch16-224 photos": "inferq models alias google/vit-base-patch16-224 vit",
    "curl -s https://example.org/duck.jpg | inferq classify -": "cat duck.jpg | inferq classify -",
    "inferq doctor --url https://vision.example.com --wait": "inferq doctor --url $INFERQ_URL",  # --wait: a minute
    "inferq completion fish > ~/.config/fish/completions/inferq.fish": "inferq completion fish > inferq.fish",
    "inferq webhooks ping https://example.org/hook": "inferq webhooks ping $HOOK",
    "inferq models drift flowers --webhook https://example.org/hook": "inferq models drift flowers --webhook $HOOK",
    "make serve": "make --dry-run --old-file=.venv/.ready serve | grep 'inferq up'",
    'make serve ARGS="--port 9000 --workers 4 --data ./data"':
        'make --dry-run --old-file=.venv/.ready serve ARGS="--port 9000 --workers 4 --data ./data" | grep "port 9000"',
    "inferq keys revoke ID": f"inferq keys revoke $(inferq keys list --json | python -c '{KEY_OF_APP}')",
}  # fmt: skip
"""Commands -> what runs in their place, since the test is on another machine, or has less time."""

VARIES = {"inferq models drift numbers"}
"""Commands whose output on the page is that of a longer story than a test has."""


def bare(command: str) -> str:
    """Return a command without the comment behind it."""
    return re.sub(r"\s+#\s.*$", "", command)


def commands(page: str) -> list[str]:
    """Return the commands of a page, and the first line of each block of Python."""
    found: list[str] = []
    for block in blocks(page):
        if block.language == "console":
            found += [bare(step.command) for step in steps(block.code)]
        elif block.language == "python":
            found.append(block.code.splitlines()[0])
    return found


def run_step(step: Step, folder: Path, stack: Stack) -> bool:
    """Run a command as the page shows it, or what stands for it; return False if no test can run it."""
    command = bare(step.command)
    if command in NOT_RUN:
        return False
    shown = "" if command in VARIES else step.shown
    command = INSTEAD.get(command, command)
    for beginning, find in _IDS.items():
        if command.startswith(beginning):
            command = re.sub(r"\b(ID|JOB|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\b", find(stack), command)
            break
    if command.startswith("inferq models suggest"):
        _until_two_are_seen(stack, "flowers")
    run(Step(command, shown), folder, stack.url)
    return True


# what a page needs before its first command


def prepare(page: str, folder: Path, stack: Stack) -> None:
    """Put the files into the folder that a page names, and bring the stack into the state that it starts from."""
    if preparation := _PREPARE.get(Path(page).stem):
        preparation(folder, stack)


def _write(folder: Path, members: dict[str, bytes]) -> None:
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _folders(first: str, second: str, start: int = 0, size: int = 15) -> dict[str, bytes]:
    """Return pictures of two labels: threes and fives."""
    return {
        f"{label}/{number}.png": digit_images.pictures(digit)[number]
        for label, digit in ((first, 3), (second, 5))
        for number in range(start, start + size)
    }


def _jpeg(digit: int = 3, number: int = 100) -> bytes:
    with Image.open(io.BytesIO(digit_images.pictures(digit)[number])) as image, io.BytesIO() as file:
        image.convert("RGB").save(file, "JPEG")
        return file.getvalue()


def _train(folder: Path, stack: Stack) -> None:
    _write(folder / "photos", _folders("red", "blue"))
    swapped = {"red": digit_images.pictures(5), "blue": digit_images.pictures(3)}  # labels to be found and corrected
    _write(folder / "photos", {f"{label}/wrong-{number}.png": pictures[number]
                               for label, pictures in swapped.items() for number in (40, 41)})  # fmt: skip
    _write(folder / "more", _folders("red", "blue", start=15))
    _write(folder, {"new.jpg": _jpeg()})


def _multi_label(folder: Path, stack: Stack) -> None:
    traits = {"even": (2, 4, 6), "round": (0, 6, 9)}
    members, rows = {"photo.jpg": _jpeg(6)}, ["file,labels"]
    for digit in (0, 1, 2, 4, 6, 9):
        for number in range(6):
            members[f"beaches/{digit}-{number}.png"] = digit_images.pictures(digit)[number]
            rows.append(f"{digit}-{number}.png,{'|'.join(label for label in traits if digit in traits[label])}")
    _write(folder, {**members, "beaches/labels.csv": "\n".join(rows).encode()})


def _growing(folder: Path, stack: Stack) -> None:
    _write(folder / "flowers", _folders("rose", "tulip"))
    run(Step("inferq datasets create flowers flowers/", ""), folder, stack.url)
    run(Step(f"inferq train flowers --name flowers {QUICK}", ""), folder, stack.url)
    weights = ROOT / "worker" / "families" / "digits" / "digits.safetensors"
    (folder / "words.txt").write_text("\n".join(digit_images.WORDS))
    run(
        Step(f"inferq models import bought --weights {weights} --arch digits --labels words.txt", ""), folder, stack.url
    )


def _models(folder: Path, stack: Stack) -> None:
    import transformers

    from tests.unit import graphs

    names = dict(enumerate(graphs.LABELS))
    config: Any = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        id2label=names, label2id={label: number for number, label in names.items()},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder / "vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "vit")
    graphs.save(graphs.make(), folder, "net.onnx")
    (folder / "net.txt").write_text("\n".join(graphs.LABELS))
    _write(folder, {"photo.jpg": _jpeg()})


def _classify(folder: Path, stack: Stack) -> None:
    httpx.delete(f"{stack.url}/v1/default-model", timeout=30)  # pages before this one have chosen others
    run(Step("inferq samples photos", ""), folder, stack.url)
    with zipfile.ZipFile(folder / "photos.zip", "w") as packed:
        packed.write(folder / "photos" / "cat.png", "cat.png")
    _write(folder, {"new.jpg": _jpeg()})


def _command_line(folder: Path, stack: Stack) -> None:
    run(Step("inferq samples photos", ""), folder, stack.url)
    _write(folder, {"more/below/a.jpg": _jpeg(5), "duck.jpg": _jpeg()})


def _webhooks(folder: Path, stack: Stack) -> None:
    stack.submit(stacks.digits()[:1], model="digits", webhook="http://127.0.0.1:9/hook")  # nobody listens there
    run(Step("inferq webhooks rotate", ""), folder, stack.url)  # so that callbacks are signed


_PREPARE: dict[str, Callable[[Path, Stack], None]] = {
    "train": _train, "multi_label": _multi_label, "growing": _growing, "models": _models, "classify": _classify,
    "command_line": _command_line, "webhooks": _webhooks,
}  # fmt: skip


# what ID and JOB stand for


def _newest_job(stack: Stack) -> str:
    return str(stack.get("/v1/jobs?limit=1")["jobs"][0]["_id"])


def _job_with_a_failure(stack: Stack) -> str:
    job = stack.submit([*stacks.digits()[:1], ("torn.png", truncated_png())], model="digits")["_id"]
    stack.finished(job, 60)
    return str(job)


def _suggestion(stack: Stack) -> str:
    answer = httpx.post(f"{stack.url}/v1/models/flowers/suggestions", json={}, timeout=30).raise_for_status()
    return str(answer.json()["suggestions"][0]["id"])


def _suspect(stack: Stack) -> str:
    return str(stack.get("/v1/datasets/mugs/suspects")["suspects"][0]["example"]["id"])


def _delivery(stack: Stack) -> str:
    return str(stack.get("/v1/webhooks/deliveries?limit=1")["deliveries"][0]["id"])


_IDS: dict[str, Callable[[Stack], str]] = {
    "curl": _newest_job, "inferq jobs show": _newest_job, "inferq jobs retry": _job_with_a_failure,
    "inferq feedback": _newest_job, "inferq models label": _suggestion, "inferq models dismiss": _suggestion,
    "inferq datasets relabel": _suspect, "inferq datasets keep": _suspect, "inferq datasets remove": _suspect,
    "inferq webhooks resend": _delivery,
}  # fmt: skip
"""The beginning of a command -> what finds the id that it is given."""


def _until_two_are_seen(stack: Stack, model: str) -> None:
    """Send noise until the model has kept two pictures: a worker hears within seconds that they are to be kept."""
    numbers = count()

    def are_seen() -> bool:
        with io.BytesIO() as file:
            Image.effect_noise((64, 64), 90).save(file, "PNG")
            job = stack.submit([(f"noise-{next(numbers)}.png", file.getvalue())], model=model)["_id"]
        stack.finished(job, 30)
        return int(stack.get(f"/v1/models/{model}/seen-pictures")["pictures"]) >= 2

    until(are_seen, 60, stack.output)
