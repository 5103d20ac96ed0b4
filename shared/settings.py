"""All settings in one frozen object; the only file that reads the environment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode


def default_data() -> str:
    """The data folder of the embedded stack: `$XDG_DATA_HOME/inferq`, or `~/.local/share/inferq`."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(Path.home(), ".local", "share")
    return os.path.join(base, "inferq")


@dataclass(frozen=True)
class Settings:
    """What can be set, with its default; the variable is `INFERQ_` and the name in capitals.

    Three have the usual names as well: `DATABASE_URL`, `REDIS_URL`, `STORAGE_URL`.
    """

    # where things are
    database_url: str = ""
    """SQLAlchemy URL; empty is SQLite in the data folder."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey, 6.2 or newer."""
    training_redis_url: str = ""
    """Where the bells for trainings ring, with a Redis database of their own; empty is the next database of
    `redis_url`."""
    storage_url: str = ""
    """fsspec URL of the blobs; empty is a folder in the data folder."""
    data: str = ""
    """The data folder of the embedded stack."""
    prefix: str = "inferq:"
    """Put before every Redis key and Celery queue, so that several stacks can share one server."""

    # the HTTP side
    host: str = "127.0.0.1"
    """Where the API listens; anywhere but on loopback it refuses to start without a key."""
    port: int = 8000
    """Where the API listens."""
    public_url: str = ""
    """The URL by which callers reach the API, as `https://vision.example.com`; empty is what the request says.
    Set it where strangers connect: signed assertions must name it."""
    api_threads: int = 96
    """HTTP threads. A request that waits for its job holds one; a quarter is kept free of waiting ones."""
    admin_key: str = ""
    """A key that is always valid, for the tenant `default`; the way in where no key exists yet."""
    max_wait: float = 60.0
    """Seconds that one request may wait for its job before it is answered with 202."""

    # what is taken
    max_body: int = 256 * 1024 * 1024
    """Bytes of one request body."""
    max_picture: int = 32 * 1024 * 1024
    """Bytes of one picture."""
    max_pixels: int = 64_000_000
    """Pixels of one picture; Pillow itself refuses more than 178 million."""
    max_aspect: float = 100.0
    """Longer side over shorter side. A 10 x 63498 picture costs 1.7 GB in a resize."""
    max_files: int = 10_000
    """Pictures in one job."""
    max_unpacked: int = 1024 * 1024 * 1024
    """Bytes of all members of one archive, unpacked."""
    max_queued: int = 200_000
    """Pictures that one tenant may have waiting for one model version; more is answered with 429."""
    fetch_timeout: float = 10.0
    """Seconds for fetching a picture from a URL, in all."""
    fetch_private: bool = False
    """Allow URLs that point to private addresses. Only for tests and closed networks."""

    # the wires
    sap_max_side: int = 1024
    """The documented limit of the SAP v1 paths: a side must stay under it; 0 switches the rule off."""
    sap_product_model: str = ""
    """The model behind product image classification; empty is the default model."""
    sap_store: str = ""
    """fsspec URL by which the service reads the bucket of the store for SAP retraining, as `s3://data`; credentials as
    for `storage_url`. Empty is no store: datasets come by the native API only."""
    sap_store_endpoint: str = ""
    """The address of that store, as it is told to clients of the tenant `default` to put datasets there."""
    sap_store_access_key: str = ""
    """The key to the store that is handed to them; it should open nothing else."""
    sap_store_secret_key: str = ""
    """The secret of that key."""
    einstein_quota: int = 0
    """Predictions that one tenant may ask for on the Einstein wire in a calendar month; 0 is no quota."""
    img_hosts: str = ""
    """Hosts from which the IMG wire fetches pictures, as `*.example.com, cdn.example.org`; empty is any public one."""
    keep_test_images: float = 90 * 24 * 3600.0
    """Seconds that images uploaded with a key of the stage `test` are kept."""

    # how often one tenant may ask: `100/minute`, `5/second`, `10000/day`; empty or `off` is no limit
    native_rate: str = ""
    """Requests on the native wire."""
    sap_rate: str = ""
    """Requests on the SAP wire."""
    einstein_rate: str = ""
    """Requests on the Einstein wire."""
    huggingface_rate: str = ""
    """Requests on the Hugging Face wire."""
    img_live_rate: str = "100/minute"
    """Requests on the IMG wire with a key of the stage `live`."""
    img_test_rate: str = "10/minute"
    """Requests on the IMG wire with a key of the stage `test`."""

    # models and workers
    default_model: str = ""
    """The model for requests that name none, of tenants that have chosen none themselves; empty is
    `efficientnet_lite0`. A model of the tenant `default` is the default of that tenant only."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    precision: str = "float32"
    """`float32`, `bfloat16` or `float16`; the last two on CUDA only."""
    compile: bool = False
    """Run models through torch.compile; it needs a C++ compiler on the worker."""
    torch_threads: int = 1
    """Threads of one torch operation. One per worker survives noisy neighbours; two do not."""
    decode_threads: int = 1
    """Threads of one worker that decode pictures; more than one pays on a GPU."""
    max_batch: int = 16
    """Pictures in one batch, where the model version does not say."""
    model_memory: int = 2 * 1024 * 1024 * 1024
    """Bytes of weights that a worker keeps; the least recently used model goes first."""
    weights_timeout: float = 3.0
    """Seconds after which a weights server that does not answer counts as absent."""
    weights_url: str = ""
    """Where pretrained weights are fetched from, in place of torchvision's own server."""

    # the queue
    lease: float = 6.0
    """Seconds after which a picture held by a silent worker is given to another."""
    max_attempts: int = 3
    """Deaths of a worker that one picture may cause before it fails as poison."""
    time_slice: float = 5.0
    """Seconds that one drain may run while others wait."""
    linger: float = 1.0
    """Seconds that an emptied stream is watched before the drain ends."""
    sweep_every: float = 2.0
    """Seconds between two sweeps."""

    # keeping
    cache_entries: int = 10_000
    """Answers that the result cache holds: 5 KB of Redis each for a model of 1000 labels; 0 switches it off."""
    cache_seconds: float = 3600.0
    """Seconds that an answer stays in the result cache."""
    keep_jobs: float = 7 * 24 * 3600.0
    """Seconds that a finished job is kept."""

    # training
    max_dataset_archive: int = 2 * 1024 * 1024 * 1024
    """Bytes of an archive that a dataset is loaded from by URL; one that is uploaded is a request body."""
    max_dataset_files: int = 100_000
    """Pictures in one archive of a dataset."""
    max_dataset_unpacked: int = 16 * 1024 * 1024 * 1024
    """Bytes of all pictures in one archive of a dataset."""
    dataset_timeout: float = 3600.0
    """Seconds for fetching an archive of a dataset from a URL, in all."""
    trainer_threads: int = 0
    """Threads of one torch operation in a trainer; 0 is one per core but one, and one at least."""

    # being called back
    webhook_secret: str = ""
    """Signs callbacks that bring no secret of their own."""
    webhook_private: bool = False
    """Allow callbacks to private addresses. Only for tests and closed networks."""

    log_level: str = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @property
    def broker_prefix(self) -> str:
        """Celery's own keys live apart from the streams."""
        return f"{self.prefix}celery:"

    @property
    def training_broker_url(self) -> str:
        """Where the bells for trainings ring; raises ValueError when `redis_url` names no database by number."""
        return self.training_redis_url or _next_database(self.redis_url)


_USUAL_NAMES = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "storage_url": "STORAGE_URL"}


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `INFERQ_*`; raises ValueError naming the variable that cannot be read."""
    environ = os.environ if environ is None else environ
    found: dict[str, object] = {}
    for field in dataclasses.fields(Settings):
        names = [f"INFERQ_{field.name.upper()}", _USUAL_NAMES.get(field.name, "")]
        text = next((environ[name] for name in names if environ.get(name)), None)
        if text is not None:
            found[field.name] = _read(names[0], text, type(field.default))
    data = str(found.get("data") or default_data())
    found["data"] = data
    found.setdefault("database_url", f"sqlite:///{data}/inferq.db")
    found.setdefault("storage_url", f"file://{data}/blobs")
    return Settings(**found)  # type: ignore[arg-type]


def _read(name: str, text: str, kind: type) -> object:
    if kind is bool:
        if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
            raise ValueError(f"{name} must be true or false, not {text!r}")
        return text.lower() in ("1", "true", "yes")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {text!r}") from None


def _next_database(url: str) -> str:
    """The Redis URL of the database after this one, on the same server."""
    address, mark, query = url.partition("?")
    try:
        if address.startswith("unix:"):  # its path is the socket's
            options = dict(parse_qsl(query))
            return f"{address}?{urlencode(options | {'db': int(options.get('db', 0)) + 1})}"
        scheme, _, rest = address.partition("://")
        server, _, number = rest.partition("/")
        return f"{scheme}://{server}/{int(number or 0) + 1}{mark}{query}"
    except ValueError:
        raise ValueError("INFERQ_REDIS_URL must end with the number of a database, as in redis://host:6379/0") from None
