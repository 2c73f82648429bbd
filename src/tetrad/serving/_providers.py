"""Providers: remote APIs that answer, as a project configures them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from tetrad.kernel import UNITS, Clock, InvalidInput, SystemClock
from tetrad.kit.egress import PUBLIC, Egress, EgressRefused, Reach, check_ca, is_loopback, looks_inner
from tetrad.serving._model import Kind, Price, Upstream
from tetrad.serving._price_origins import PriceOrigin, check_origin, origin_now
from tetrad.serving._unit_pricing import batch_pricer_of, pricer_of
from tetrad.serving.errors import BadProvider, BadRouteTable, ProviderNotFound

RESERVED = frozenset({"local", "app", "release"})
ANY_LLM = "any-llm"
"""Its calls are made by other people's libraries, which ask no egress policy."""
ADAPTERS = ("anthropic", ANY_LLM, "azure", "bedrock", "gemini", "invocations", "mistral", "openai", "vertex-anthropic")
"""Those that we ship; others register by an entry point."""
OPENAI_LIKE = frozenset(("openai", "azure", "invocations"))
MACHINE_AUTHS = {
    "aws-machine": ("bedrock", "invocations"),
    "google-machine": ("gemini", "vertex-anthropic"),
    "azure-machine": ("azure", "openai"),
}
"""Logins as the machine that a gateway runs on, which need no secret, and the adapters that know them."""
AUTHS = ("bearer", "header", "query", "sigv4", "google", *MACHINE_AUTHS, "none")
MAX_OPTIONS, MAX_OPTION_CHARS = 16, 500
MAX_MODELS = 500
SPEAKABLE = ("chat", "responses", "completions", "embeddings")
"""Operations of OpenAI's protocol, the one to translate to first."""
_OPENAI = "api.openai.com"
BATCH_HOSTS = {"openai": _OPENAI, "anthropic": "api.anthropic.com"}
"""The adapters whose protocol has batches, and where that is known beforehand."""
_AZURE_BATCHES = (
    "say `calls`: Azure does batches by deployments of the type Global Batch, which take no calls, "
    "and its batch API is not spoken here"
)
MAX_MORE_SECRETS = 31
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_OPTION = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PLAIN_URL = re.compile(r"[!-~]+")
_ANY_LLM_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ProviderModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model of a provider: clients ask for `PROVIDER/NAME`. `price` overrides the public price list."""

    name: str
    kinds: tuple[Kind, ...] = ("chat",)
    price: Price | None = None
    deployment: str = ""
    """What the provider itself calls it, where that is not `name`: a deployment, an inference profile, an endpoint."""
    price_origin: PriceOrigin | None = None
    """Whence `price` comes; None where nobody noted it, or there is none."""


class ProviderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach a provider. `secret` names a secret of the project, sent as its API key; empty sends none.

    `adapter` names the protocol that it speaks; `base_url` ends where that begins, before `/chat/completions`, say.
    `auth` says how the secret is used (one of `AUTHS`; empty: as the adapter usually does), and `options` what the
    adapter has to know besides, such as a region. What a client says and that protocol cannot is left out (and named
    in the answer's headers), or refused where `translation` is `strict`. `secrets` name more keys of the same provider:
    one that is refused, or at its limit, gives way to another.

    With `max_concurrency` a gateway worker makes so many calls at once, fewer while the provider says it is too much;
    `max_queue` more wait, and are refused with 429 once no call waits less than `queue_target_s`.

    `system` is the value of `gen_ai.provider.name` on spans and the
    provider's name in the public price list.
    """

    name: str
    project: str
    base_url: str
    models: tuple[ProviderModel, ...]
    adapter: str = "openai"
    system: str = "openai"
    secret: str = ""
    secrets: tuple[str, ...] = ()
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    max_connections: int = 512
    translation: Literal["strict", "lossy"] = "lossy"
    operations: tuple[str, ...] = ()
    """What it speaks natively; empty: everything where it is OpenAI itself, else chat and embeddings."""
    max_concurrency: int = 0
    max_queue: int = 64
    queue_target_s: float = 1.0
    auth: str = ""
    options: dict[str, str] = {}
    internal: bool | None = None
    """Whether it may be at a private address. Administrators of the installation say so, or it is taken from the look
    of the host that they name; None: it was stored before this was asked, and may."""
    ca: str = ""
    """PEM certificates that sign its own, in place of the system's."""
    batches: Literal["", "native", "calls"] = ""
    """Whether batches are handed over to its own batch API, or made as calls; empty: handed over to OpenAI and
    Anthropic themselves."""

    @property
    def has_batches(self) -> bool:
        """Whether batches are handed over to it."""
        own = self.host == BATCH_HOSTS.get(self.adapter)
        return self.batches == "native" or (not self.batches and own)

    def reach(self, egress: Egress) -> Reach:
        """Return where its connections may go."""
        return Reach(egress, self.internal is not False, self.ca)

    @property
    def host(self) -> str:
        """The host that it names."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """What an administrator's word for it holds for: scheme, host and port."""
        parts = urlsplit(self.base_url)
        return parts.scheme, parts.hostname or "", parts.port

    @property
    def spoken(self) -> tuple[str, ...]:
        """The operations that it speaks natively; the others are translated where there is a way."""
        if self.operations:
            return self.operations
        return SPEAKABLE if urlsplit(self.base_url).hostname == _OPENAI else ("chat", "embeddings")


def upstream_of(spec: ProviderSpec, secret: str, secrets: tuple[str, ...] = (), *, egress: str = PUBLIC) -> Upstream:
    """Return a provider as gateways know it, its secrets told; `egress` is the policy that holds for it."""
    return Upstream(
        name=spec.name,
        base_url=spec.base_url.rstrip("/"),
        adapter=spec.adapter,
        provider=spec.system,
        secret=secret,
        secrets=secrets,
        connect_timeout_s=spec.connect_timeout_s,
        first_byte_timeout_s=spec.first_byte_timeout_s,
        idle_timeout_s=spec.idle_timeout_s,
        total_timeout_s=spec.total_timeout_s,
        max_connections=spec.max_connections,
        operations=spec.spoken,
        translation=spec.translation,
        max_concurrency=spec.max_concurrency,
        max_queue=spec.max_queue,
        queue_target_s=spec.queue_target_s,
        auth=spec.auth,
        options=spec.options,
        egress=egress,
        internal=spec.internal is not False,
        ca=spec.ca,
        batches=spec.has_batches,
        batches_only=spec.batches == "native",
    )


def check_provider(spec: ProviderSpec, adapters: Collection[str] = ADAPTERS) -> ProviderSpec:
    """Return the spec, or raise `BadProvider` naming the field and what is allowed."""
    if not _NAME.fullmatch(spec.name) or spec.name in RESERVED:
        raise BadProvider(
            f"{spec.name[:80]!r} cannot name a provider",
            hint=f"a-z, 0-9 and `-`, at most 63; not {', '.join(sorted(RESERVED))}",
        )
    _check_url(spec.base_url)
    if spec.secret and not _SECRET.fullmatch(spec.secret):
        raise BadProvider(f"{spec.secret[:20]!r}… cannot name a secret", hint="name it; do not give the secret itself")
    if spec.secrets and not spec.secret:
        raise BadProvider("`secrets` are given and no `secret`", hint="name the first key in `secret`")
    every = (spec.secret, *spec.secrets)
    if len(spec.secrets) > MAX_MORE_SECRETS or len(set(every)) != len(every):
        raise BadProvider("the secrets are too many, or one is named twice", hint=f"up to {MAX_MORE_SECRETS} more")
    if not all(_SECRET.fullmatch(each) for each in spec.secrets):
        raise BadProvider("one of `secrets` cannot name a secret", hint="name it; do not give the secret itself")
    if not 1 <= len(spec.models) <= MAX_MODELS:
        raise BadProvider(f"{len(spec.models)} models are listed", hint=f"list 1 to {MAX_MODELS}")
    for model in spec.models:
        if not _MODEL.fullmatch(model.name) or not model.kinds:
            raise BadProvider(f"{model.name[:80]!r} cannot name a model of a provider", hint="such as gpt-5-mini")
        if model.price is not None:
            _check_price(model.name, model.price)
        check_origin(model.price_origin)
    if len({model.name for model in spec.models}) != len(spec.models):
        raise BadProvider("a model is listed twice", hint="list each once")
    if not all(not model.deployment or _MODEL.fullmatch(model.deployment) for model in spec.models):
        raise BadProvider("a deployment has a name that cannot be called", hint="such as my-gpt-5-mini, or an ARN")
    if spec.adapter not in adapters:
        raise BadProvider(f"there is no adapter {spec.adapter[:40]!r}", hint=f"known: {', '.join(sorted(adapters))}")
    if spec.adapter in ("anthropic", "vertex-anthropic") and any("embeddings" in model.kinds for model in spec.models):
        raise BadProvider(f"the adapter {spec.adapter!r} has no embeddings", hint="leave the kind `embeddings` out")
    _check_login(spec)
    if spec.adapter in ADAPTERS and spec.adapter not in OPENAI_LIKE and spec.operations:
        raise BadProvider(
            "operations are those of OpenAI's protocol", hint=f"leave them out for the adapter {spec.adapter!r}"
        )
    unknown = sorted(set(spec.operations) - set(SPEAKABLE))
    if unknown or len(set(spec.operations)) != len(spec.operations):
        raise BadProvider(
            f"a provider cannot speak {unknown[0][:80]!r}" if unknown else "an operation is listed twice",
            hint=f"list each once, of {', '.join(SPEAKABLE)}",
        )
    limits = (spec.connect_timeout_s, spec.first_byte_timeout_s, spec.idle_timeout_s, spec.total_timeout_s)
    if not all(0 < limit <= 86_400 for limit in limits) or not 1 <= spec.max_connections <= 100_000:
        raise BadProvider("a limit is out of range", hint="timeouts: up to 86400 s; max_connections: 1 to 100000")
    if not 0 <= spec.max_concurrency <= 100_000 or not 0 <= spec.max_queue <= 100_000:
        raise BadProvider("max_concurrency or max_queue is out of range", hint="0 to 100000")
    if not 0.001 <= spec.queue_target_s <= 3600:
        raise BadProvider("queue_target_s is out of range", hint="0.001 to 3600")
    if spec.batches == "native" and spec.adapter not in BATCH_HOSTS:
        raise BadProvider(
            f"no batches are handed over to providers of the adapter {spec.adapter!r}",
            hint=_AZURE_BATCHES
            if spec.adapter == "azure"
            else f"leave `batches` out, or say `calls`; of {', '.join(sorted(BATCH_HOSTS))} they are",
        )
    if spec.ca:
        if urlsplit(spec.base_url).scheme != "https":
            raise BadProvider("`ca` is given and the base URL is no https", hint="certificates prove nothing there")
        try:
            check_ca(spec.ca)
        except InvalidInput as error:
            raise BadProvider(f"`ca`: {error.message}", hint=error.hint) from None
    return spec


def _check_login(spec: ProviderSpec) -> None:
    if spec.adapter == ANY_LLM:
        _check_any_llm(spec)
    if spec.auth and spec.auth not in AUTHS:
        raise BadProvider(f"{spec.auth[:40]!r} is no way to log in", hint=f"one of {', '.join(AUTHS)}")
    if spec.auth in ("sigv4", "google") and not spec.secret:
        raise BadProvider(f"the login {spec.auth!r} needs a secret", hint="name it in `secret`")
    if spec.auth in MACHINE_AUTHS:
        _check_machine(spec)
    if len(spec.options) > MAX_OPTIONS:
        raise BadProvider(f"{len(spec.options)} options are given", hint=f"at most {MAX_OPTIONS}")
    for name, value in spec.options.items():
        if not _OPTION.fullmatch(name) or not value.isprintable() or len(value) > MAX_OPTION_CHARS:
            raise BadProvider(
                f"the option {name[:40]!r} cannot be used",
                hint=f"names such as api_version; values of up to {MAX_OPTION_CHARS} printable characters",
            )


def _check_machine(spec: ProviderSpec) -> None:
    known = MACHINE_AUTHS[spec.auth]
    if spec.adapter not in known:
        raise BadProvider(
            f"the adapter {spec.adapter!r} has no login {spec.auth!r}", hint=f"it is one of {', '.join(known)}"
        )
    if spec.secret:
        raise BadProvider(
            f"the login {spec.auth!r} uses no secret, and one is named", hint="leave it out, or choose another login"
        )
    if urlsplit(spec.base_url).scheme != "https" and not is_loopback(spec.host):
        raise BadProvider(
            f"the login {spec.auth!r} would send the machine's credential without TLS", hint="name an https address"
        )


def _check_any_llm(spec: ProviderSpec) -> None:
    if not _ANY_LLM_NAME.fullmatch(spec.options.get("provider", "")):
        raise BadProvider(
            "the option `provider` does not say which of any-llm's providers it is",
            hint="--option provider=NAME, such as deepinfra",
        )
    if spec.auth not in ("", "bearer", "none"):
        raise BadProvider(f"any-llm cannot log in by {spec.auth[:40]!r}", hint="it takes an API key: leave `auth` out")
    if spec.ca:
        raise BadProvider("any-llm cannot be given certificates", hint="it uses the system's: leave `ca` out")


def _check_price(name: str, price: Price) -> None:
    try:
        pricer_of(price)
        batch_pricer_of(price)
    except BadRouteTable as error:
        raise BadProvider(
            f"the price of {name!r} cannot be read: {error.message}",
            hint=f"decimals such as 0.15; besides tokens of text: {', '.join(UNITS)}",
        ) from None


def _check_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadProvider(f"{text[:100]!r} is no URL", hint="such as https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BadProvider(f"{text[:100]!r} is no HTTP address", hint="such as https://api.example.com/v1")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise BadProvider(
            "a base URL has no credentials, query or fragment", hint="keep the key as a secret and name it in `secret`"
        )
    if not _PLAIN_URL.fullmatch(text) or "\\" in text:
        # readers disagree about what these mean, and about which host they name
        raise BadProvider(f"{text[:100]!r} has characters that no base URL has", hint="plain ASCII without `\\`")


class ProviderStore(Protocol):
    """Keep specs; names are unique in the whole installation, since they are the first part of models' names."""

    def put(self, spec: ProviderSpec) -> None:
        """Insert or overwrite; raises `BadProvider` (409) when another project holds the name."""
        ...

    def drop(self, project: str, name: str) -> bool:
        """Remove; tell whether it was there."""
        ...

    def all(self, project: str | None = None) -> list[ProviderSpec]:
        """Return the specs of a project, or of all, by name."""
        ...


class ProviderDirectory:
    """Providers of all projects; `on_change` hears of every change after it is stored."""

    def __init__(
        self,
        store: ProviderStore,
        on_change: Callable[[], Any] = lambda: None,
        *,
        egress: Egress | None = None,
        adapters: Callable[[], Collection[str]] = lambda: ADAPTERS,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._adapters = adapters
        self._on_change = on_change
        self.egress = egress or Egress()

    def put(self, spec: ProviderSpec, *, everywhere: bool = False, by: str = "") -> ProviderSpec:
        """Add a provider or change it; raises `EgressRefused` where its host may not be called.

        `everywhere`: an administrator of the whole installation asks, who may name a private address. What such a one
        configured stays allowed when others change the rest of it. `by` is who asks: the origin of prices is noted.
        """
        spec = self.checked(spec, everywhere=everywhere)
        if by:
            spec = self._noted(spec, by)
        self._store.put(spec)
        self._on_change()
        return spec

    def checked(self, spec: ProviderSpec, *, everywhere: bool = False) -> ProviderSpec:
        """Return the spec as it would be kept, or raise as `put` does."""
        check_provider(spec, self._adapters())
        if spec.adapter == ANY_LLM and not everywhere:
            raise EgressRefused(
                f"only administrators of the whole installation may configure providers with the adapter {ANY_LLM!r}: "
                "its calls are made past the egress policy",
                hint="ask one of them, or use an adapter whose calls Tetrad makes itself",
            )
        if spec.auth in MACHINE_AUTHS and not everywhere:
            raise EgressRefused(
                f"only administrators of the whole installation may configure providers with the login {spec.auth!r}: "
                "calls are made as the machine that the gateway runs on",
                hint="ask one of them, or use a key of your own",
            )
        spec = msgspec.structs.replace(spec, internal=self._internal(spec, everywhere))
        spec.reach(self.egress).check_host(spec.host)
        return spec

    def _before(self, spec: ProviderSpec) -> ProviderSpec | None:
        return next((each for each in self._store.all(spec.project) if each.name == spec.name), None)

    def _noted(self, spec: ProviderSpec, by: str) -> ProviderSpec:
        before, at = self._before(spec), self._clock.now()
        known = {each.name: (each.price, each.price_origin) for each in before.models} if before else {}
        models = tuple(
            msgspec.structs.replace(
                each,
                price_origin=origin_now(each.price, each.price_origin, known.get(each.name, (None, None)), at, by),
            )
            for each in spec.models
        )
        return msgspec.structs.replace(spec, models=models)

    def _internal(self, spec: ProviderSpec, everywhere: bool) -> bool:
        before = self._before(spec)
        stays = before is not None and before.origin == spec.origin and before.internal is not False
        if everywhere:
            return looks_inner(spec.host) or (stays if spec.internal is None else spec.internal)
        if spec.internal is False:
            return False
        if stays:
            return True
        if spec.internal:
            raise EgressRefused(
                f"only administrators of the whole installation may say that {spec.host[:253]!r} is internal",
                hint="ask one of them, or leave `internal` out",
            )
        return False

    def get(self, project: str, name: str) -> ProviderSpec:
        """Return a provider of a project; raises `ProviderNotFound`."""
        for spec in self._store.all(project):
            if spec.name == name:
                return spec
        raise ProviderNotFound(
            f"the project {project!r} has no provider {name[:80]!r}", hint="`tetrad provider list` shows them"
        )

    def drop(self, project: str, name: str) -> None:
        """Remove a provider; calls in flight end as they would have."""
        if not self._store.drop(project, name):
            raise ProviderNotFound(
                f"the project {project!r} has no provider {name[:80]!r}", hint="`tetrad provider list` shows them"
            )
        self._on_change()

    def all(self, project: str | None = None) -> list[ProviderSpec]:
        """Return the providers of a project, or of all."""
        return self._store.all(project)
