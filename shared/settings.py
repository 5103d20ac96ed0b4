"""Settings are one frozen object; no other file reads the environment."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.domain import webhooks

Positive = Annotated[int, Field(ge=1)]
"""Has no maximum, because a very large value works as no limit."""
Natural = Annotated[int, Field(ge=0)]
Threads = Annotated[int, Field(ge=1, le=10_000)]
Seconds = Annotated[float, Field(ge=0.1, le=7 * 24 * 3600)]
"""A shorter time would keep a core busy with waiting; a longer one is refused by sockets as a timeout."""
Pause = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
Keeping = Annotated[float, Field(ge=0, le=100 * 365 * 24 * 3600)]


def _webhook_secret(text: str) -> str:
    """Return the secret; raises ValueError for one that cannot sign."""
    webhooks.signing_key(text)
    return text


def default_data() -> str:
    """Return the data folder of the embedded stack: `$XDG_DATA_HOME/inferq`, or `~/.local/share/inferq`."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(Path.home(), ".local", "share")
    return os.path.join(base, "inferq")


class Settings(BaseSettings):
    """Every setting with its default; its environment variable is `INFERQ_` and its name in capitals.

    Three settings have the usual names as well: `DATABASE_URL`, `REDIS_URL`, `STORAGE_URL`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    # where things are
    database_url: str = ""
    """SQLAlchemy URL; empty is SQLite in the data folder."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey, 6.2 or newer."""
    training_redis_url: str = ""
    """Redis database for the notifications of trainings, which must not be shared; empty is the next database of
    `redis_url`."""
    storage_url: str = ""
    """fsspec URL of the blobs; empty is a folder in the data folder."""
    durability: Literal["process", "power"] = "power"
    """What an accepted job survives: `power` is the death of the machine, for which SQLite, PostgreSQL (its
    `synchronous_commit`) and the blob folder wait for the disk; `process` is only that of any process, and spares
    requests the wait. Object stores decide this for themselves."""
    data: str = ""
    """The data folder of the embedded stack."""
    prefix: str = "inferq:"
    """The prefix of every Redis key and Celery queue, by which several stacks can share one server."""

    # the HTTP side
    host: str = "127.0.0.1"
    """Address on which the API listens; on any address but loopback it refuses to start without a key."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port on which the API listens."""
    public_url: str = ""
    """The URL by which callers reach the API, as `https://vision.example.com`; empty takes it from each request.
    Set it if the API is public: signed assertions must name it."""
    trusted_proxies: Natural = 0
    """Proxies in a row in front of the API whose `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are believed, so
    that links lead through them. Each must set all four or remove them, since callers can send them too. Above 0 every
    request needs a key, also from this machine; `INFERQ_ADMIN_KEY` is one that creates the first."""
    cors_origins: str = ""
    """Origins of web pages that may call the API from browsers, as `https://a.example, http://localhost:3000`; `*` is
    any. Their requests always need a key. Empty is none but the API's own pages."""
    keep_alive: Seconds = 15.0
    """Seconds for which a connection may be idle before the API closes it, and in which the head of a request must
    arrive. Behind a load balancer it should be longer than the balancer's own time, which is often 60."""
    max_idle_connections: Positive = 1000
    """Most connections of one address, or of one IPv6 network of 64 bits, that have no request in one HTTP process;
    beyond it, the one that was silent for the longest is closed. Behind trusted proxies only the number of all
    connections is bounded."""
    api_processes: Annotated[int, Field(ge=0, le=256)] = 0
    """HTTP processes; 0 is one for every four cores, at least one."""
    api_threads: Threads = 256
    """Most HTTP threads of one process for small requests, and as many for large bodies and streamed answers; a thread
    is started when all are busy. A request that waits for its job holds none. Event streams hold three quarters of the
    second kind at most."""
    max_waiting: Threads = 4000
    """Most requests that wait for their jobs in one HTTP process; more are answered at once, with 202 or 503."""
    admin_key: str = ""
    """A key that is always valid, for the tenant `default`, also before the first key exists."""
    max_wait: Pause = 60.0
    """Seconds that one request may wait for its job before it is answered with 202."""

    # limits of requests
    max_body: Positive = 256 * 1024 * 1024
    """Bytes of one request body."""
    max_weights: Positive = 8 * 1024 * 1024 * 1024
    """Bytes of the request that imports a model."""
    max_picture: Positive = 32 * 1024 * 1024
    """Bytes of one picture."""
    max_pixels: Positive = 64_000_000
    """Pixels of one picture; Pillow itself refuses more than 178 million."""
    max_aspect: Annotated[float, Field(ge=1)] = 100.0
    """Maximum of the longer side divided by the shorter. Resizing a 10 x 63498 picture takes 1.7 GB of memory."""
    max_files: Positive = 10_000
    """Pictures in one job."""
    max_unpacked: Positive = 1024 * 1024 * 1024
    """Bytes of all members of one archive, unpacked."""
    max_queued: Natural = 200_000
    """Pictures of one tenant that may wait for one model version; more are refused with 429, and a single job that has
    more with 400. With 0 all are refused with 403. `inferq tenants set` sets it for a tenant."""
    fetch_timeout: Seconds = 10.0
    """Seconds for fetching a picture from a URL, in all."""
    fetch_private: bool = False
    """Allow URLs that point to private addresses. Only for tests and closed networks."""

    # the wires
    sap_max_side: Natural = 1024
    """The documented limit of the SAP v1 paths: each side of a picture must be shorter; 0 is no limit."""
    sap_product_model: str = ""
    """The model behind product image classification; empty is the default model."""
    sap_store: str = ""
    """fsspec URL by which the service reads the bucket of the store for SAP retraining, as `s3://data`; credentials as
    for `storage_url`. Empty is no store: datasets are uploaded by the native API only."""
    sap_store_endpoint: str = ""
    """The address of that store, which clients of the tenant `default` receive, to upload datasets to it."""
    sap_store_access_key: str = ""
    """The access key of the store that these clients receive; it should give access to nothing else."""
    sap_store_secret_key: str = ""
    """The secret of that access key."""
    einstein_quota: Natural = 0
    """Predictions that one tenant may ask for on the Einstein wire in a calendar month; 0 is no quota."""
    img_hosts: str = ""
    """Hosts from which the IMG wire fetches pictures, as `*.example.com, cdn.example.org`; empty is any public one."""
    keep_test_images: Keeping = 90 * 24 * 3600.0
    """Seconds for which stored images of the stage `test` are kept."""

    # requests of one tenant: `100/minute`, `5/second`, `10000/day`; empty or `off` is no limit
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
    """The model for requests that name none, for tenants that have chosen no default; empty is `efficientnet_lite0`.
    A model of the tenant `default` is the default of that tenant only."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    precision: Literal["exact", "fast"] = "exact"
    """`exact` answers within rounding of float32, and prepares pictures as torchvision does. `fast` allows a busy model
    bfloat16, and JPEGs that are decoded to a smaller size, if on its example set 99 % of the best labels stay and no
    score moves by more than 0.02; on an NVIDIA card float16. The API needs the same value, for the result cache."""
    engine: Literal["auto", "torch"] = "auto"
    """`auto` runs a busy model on the CPU with OpenVINO, and any model on an NVIDIA card from CUDA graphs, compiled if
    the worker has a C compiler, where that is measured to be faster and gives the same answers."""
    compile: bool = False
    """Compile models on the CPU by torch.compile; it needs a C++ compiler on the worker."""
    torch_threads: Threads = 1
    """Threads of one torch operation. With more than one per worker, other load on the machine slows a worker down
    considerably."""
    decode_threads: Threads = 1
    """Threads of one worker that decode pictures; about four help on a GPU, and more than one worker for each card."""
    max_batch: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Maximum pictures that a model runs at once, unless its version sets its own maximum; 0 is 16 on the CPU and 256
    on an NVIDIA card."""
    model_memory: Positive = 2 * 1024 * 1024 * 1024
    """Bytes of weights that a worker keeps in memory; the least recently used model is dropped first."""
    search_memory: Positive = 256 * 1024 * 1024
    """Bytes of features that a worker keeps in memory for searches: 50,000 pictures of the default model. Those of
    larger collections are read from the storage by each search."""
    weights_timeout: Seconds = 3.0
    """Seconds after which a server of weights that does not answer counts as unreachable."""
    weights_url: str = ""
    """Base URL of a server of pretrained weights, in place of their publishers' servers."""

    # the queue
    lease: Seconds = 6.0
    """Seconds for which a worker's claim on pictures lasts. A running worker renews it; after the lease of a worker
    that was killed has expired, another worker claims the pictures."""
    max_attempts: Positive = 3
    """Attempts to run one picture. If a worker crashes in each of them, the picture fails with the code `poison`."""
    time_slice: Pause = 5.0
    """Seconds for which a worker consumes the pictures of one model version before it turns to another."""
    linger: Pause = 1.0
    """Seconds for which a worker polls the empty streams of a version before it turns to another version."""
    sweep_every: Seconds = 2.0
    """Seconds between two runs of maintenance."""

    # how long things are kept
    cache_entries: Natural = 10_000
    """Results that the result cache holds: 5 KB of Redis each for a model of 1000 labels; 0 switches it off."""
    cache_seconds: Annotated[float, Field(ge=0.1, le=100 * 365 * 24 * 3600)] = 3600.0
    """Seconds for which a result stays in the result cache."""
    keep_jobs: Keeping = 7 * 24 * 3600.0
    """Seconds for which a finished job is kept; `inferq tenants set` sets it for a tenant."""

    # training
    max_dataset_archive: Positive = 2 * 1024 * 1024 * 1024
    """Bytes of an archive that a dataset is loaded from by URL; for an uploaded archive, `max_body` applies."""
    max_dataset_files: Positive = 100_000
    """Pictures in one archive of a dataset."""
    max_dataset_unpacked: Positive = 16 * 1024 * 1024 * 1024
    """Bytes of all pictures in one archive of a dataset."""
    dataset_timeout: Seconds = 3600.0
    """Seconds for fetching an archive of a dataset from a URL, in all."""
    trainer_threads: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Threads of one torch operation in a trainer; 0 is the number of cores minus one, at least one."""

    # webhooks
    webhook_secret: Annotated[str, AfterValidator(_webhook_secret)] = ""
    """The secret that signs the webhooks of jobs and trainings without a secret of their own; after `whsec_` it is
    base64."""
    webhook_private: bool = False
    """Allow webhooks to private addresses. Only for tests and closed networks."""

    # logs and traces
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`. The life of jobs is told at `INFO`."""
    log_format: Literal["text", "json"] = "text"
    """`text` for people, `json` for programs that collect logs: one object a line."""
    process_name: str = ""
    """What log lines and traces call the process, as `worker-1`; empty is `api`, `worker`, `trainer` or `maintenance`.
    `inferq up` sets it."""
    otlp_endpoint: str = ""
    """The base URL of an OpenTelemetry collector that takes traces by HTTP, as `http://127.0.0.1:4318`; empty traces
    nothing. It needs the extra `tracing`."""
    otlp_percent: Annotated[float, Field(ge=0, le=100)] = 100.0
    """How many of a hundred requests are traced; of those with a `traceparent` header, those whose caller says so."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the values given in code only, because `from_environment` reads the environment."""
        return (init_settings,)

    def changed(self, **values: object) -> Settings:
        """Return these settings with some values replaced; raises ValueError for a value that is not allowed."""
        return self.model_validate(dict(self) | values)

    @property
    def broker_prefix(self) -> str:
        """The prefix of Celery's own keys, which keeps them apart from the streams."""
        return f"{self.prefix}celery:"

    @property
    def training_broker_url(self) -> str:
        """The broker of the trainings; raises ValueError if `redis_url` does not name its database by number."""
        return self.training_redis_url or _next_database(self.redis_url)


_USUAL_NAMES = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "storage_url": "STORAGE_URL"}
_VARIABLES = {f"INFERQ_{name.upper()}": name for name in Settings.model_fields}
_OF_OTHERS = re.compile(r"INFERQ_(URL|KEY|STACK|PUBLISH|TEST_.+|BENCH_.+)")
"""Variables that are no settings and are not reported: of the command, `inferq up`, Docker Compose, the tests and the
benchmark."""
_OF_KUBERNETES = re.compile(
    r"INFERQ_(.+_)?(SERVICE_(HOST|PORT)(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)=.*|.+=(tcp|udp|sctp)://.*"
)
"""Variables that Kubernetes sets in every container for a Service that is called inferq, or inferq-redis."""


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `INFERQ_*`; raises ValueError with one line that names each variable that is wrong."""
    environ = os.environ if environ is None else environ
    variables = {name: text for name, text in environ.items() if text}
    values: dict[str, str] = {}
    for variable, name in _VARIABLES.items():
        text = variables.get(variable) or variables.get(_USUAL_NAMES.get(name, ""))
        if text is not None:
            values[name] = text
    data = values["data"] = values.get("data") or default_data()
    values.setdefault("database_url", f"sqlite:///{data}/inferq.db")
    values.setdefault("storage_url", f"file://{data}/blobs")
    wrong = [_unknown(name) for name, text in sorted(variables.items()) if not _is_known(name, text)]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        wrong = [_describe_limits(str(problem["loc"][0]), problem["input"]) for problem in error.errors()] + wrong
    if wrong:
        raise ValueError("; ".join(wrong))
    return settings


def bounds(name: str) -> str:
    """Return the allowed values of a setting, as `from 0 to 65535`; empty if any value of its type is allowed."""
    if words := choices(name):
        return f"{', '.join(words[:-1])} or {words[-1]}"
    metadata = Settings.model_fields[name].metadata
    limits = {
        key: getattr(constraint, key) for constraint in metadata for key in ("ge", "le") if hasattr(constraint, key)
    }
    if not limits:
        return ""
    return f"from {limits['ge']} to {limits['le']}" if "le" in limits else f"from {limits['ge']} up"


def choices(name: str) -> tuple[str, ...]:
    """Return the words that are allowed for a setting; empty if it is not one of a few words."""
    return get_args(Settings.model_fields[name].annotation)


def _describe_limits(name: str, value: object) -> str:
    if name == "webhook_secret":  # is not repeated: it is a secret even if it is broken
        return "INFERQ_WEBHOOK_SECRET must be base64 after whsec_, as `openssl rand -base64 32` makes it"
    kinds: dict[object, str] = {int: "a whole number ", float: "a number ", bool: "true or false"}
    allowed = kinds.get(Settings.model_fields[name].annotation, "") + bounds(name)
    now = _RENAMED.get((name, str(value)))
    return f"INFERQ_{name.upper()} must be {allowed}, not {value!r}" + (f"; write {now}, its new name" if now else "")


_RENAMED = {("precision", "float32"): "exact", ("precision", "bfloat16"): "fast", ("precision", "float16"): "fast"}
"""(setting, value of earlier releases) -> value that has taken its place."""


def _is_known(variable: str, text: str) -> bool:
    if not variable.startswith("INFERQ_") or variable in _VARIABLES:
        return True
    return bool(_OF_OTHERS.fullmatch(variable) or _OF_KUBERNETES.fullmatch(f"{variable}={text}"))


def _unknown(variable: str) -> str:
    names = [name.upper() for name in Settings.model_fields]  # without the common prefix
    near = difflib.get_close_matches(variable.removeprefix("INFERQ_").upper(), names, 1)
    return f"{variable} is no setting; " + (f"is it INFERQ_{near[0]}?" if near else "docs/settings.md lists them")


def _next_database(url: str) -> str:
    """Return the Redis URL of the next database on the same server."""
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
