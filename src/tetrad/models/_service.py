"""Register models, find them, price them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tetrad.kernel import Clock, Digest, Principal, new_id, parse_digest
from tetrad.models._labels import ALIASES, alias_ref
from tetrad.models._model import (
    DERIVATIONS,
    Derivation,
    Kind,
    ModelPrice,
    ModelRecord,
    ModelVersion,
    PriceEntry,
    PriceTier,
    WeightsFacts,
    WeightsFile,
    check_price,
    current_price,
    hosted_document,
    weights_digest,
    weights_document,
)
from tetrad.models.errors import BadModel, BadPrice, ModelNotFound
from tetrad.models.ports import ModelStore, PriceList, WeightsReader
from tetrad.registry import (
    ABSENT,
    Activity,
    Artifact,
    Edge,
    Invalidation,
    Ref,
    Registry,
    Version,
    VersionNotFound,
    check_name,
)

KIND = "model"
FILE_KIND = "model-file"
LOCAL = "local"
EVERYWHERE = ""
MAX_FILES = 500
MAX_ALIASES = 1_000
_POLICIES: Mapping[Derivation, Invalidation] = dict.fromkeys(DERIVATIONS, "rebuild")


class Models:
    """The models of all projects: weights in the blob store, and models that others host."""

    def __init__(
        self,
        store: ModelStore,
        registry: Registry,
        clock: Clock,
        *,
        reader: WeightsReader | None = None,
        price_list: PriceList | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._reader = reader
        self._price_list = price_list

    # -- registering --------------------------------------------------------------------------------------------

    def register_weights(
        self,
        project: str,
        name: str,
        paths: Path | Sequence[Path],
        *,
        actor: Principal,
        kind: Kind = "weights",
        licence: str = "",
        base: Digest | None = None,
        derivation: Derivation = "none",
        source: Mapping[str, Any] | None = None,
        known_digest: str | None = None,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
        free: bool = True,
    ) -> ModelVersion:
        """Keep files of weights in the blob store and name them; the same again is the version that is there.

        Metadata is read from the first file. With `known_digest` files that the project has already are not read again.
        `base` and `derivation` say what the weights were made from. `free` prices the model at 0 in every project
        (engines serve the whole installation), source `local`.
        """
        check_name(name, "name of a model")
        files = [paths] if isinstance(paths, Path) else list(paths)
        if not 1 <= len(files) <= MAX_FILES:
            raise BadModel(f"{len(files)} files of weights", hint=f"1 to {MAX_FILES}")
        if derivation not in DERIVATIONS or (derivation != "none" and base is None):
            raise BadModel(f"the derivation {derivation!r} without a base", hint=f"one of {', '.join(DERIVATIONS)}")
        record = self._store.get(project, parse_digest(known_digest)) if known_digest else None
        if record is None:
            record = self._keep_weights(project, files, kind, base, derivation, actor)
        version = self._name(
            project, name, record, actor, semver, reason, expected_outcome,
            {"licence": licence or record.facts.licence, "source": dict(source or {})},
        )  # fmt: skip
        if free and not self._store.prices(EVERYWHERE, name):
            self.set_price(EVERYWHERE, name, input="0", output="0", source=LOCAL, actor=actor)
        return version

    def _keep_weights(
        self,
        project: str,
        paths: Sequence[Path],
        kind: Kind,
        base: Digest | None,
        derivation: Derivation,
        actor: Principal,
    ) -> ModelRecord:
        names = [path.name for path in paths]
        if len(set(names)) != len(names):
            raise BadModel("two files of weights have one name", hint="give each file its own name")
        for path in paths:
            if not path.is_file():
                raise BadModel(f"{str(path)!r} is no file", hint="name a file of weights, such as model.gguf")
        if base is not None:
            self.get(project, base)
        facts = self._reader(paths[0]) if self._reader else WeightsFacts()
        single = len(paths) == 1
        media = "application/vnd.tetrad.weights"
        kept: list[tuple[WeightsFile, Artifact]] = []
        for path in paths:
            artifact = self._registry.put_file(
                project, KIND if single else FILE_KIND, path, actor=actor, media_type=media
            )
            kept.append((WeightsFile(path.name, artifact.digest, artifact.size), artifact))
        files = tuple(file for file, _ in kept)
        digest = weights_digest(files)
        if not single:
            parts = [(file.digest, "weights") for file in files]
            self._registry.put_document(project, KIND, weights_document(files), actor=actor, parts=parts)
        record = self._store.add(
            ModelRecord(
                project, digest, kind, sum(file.size for file in files), self._clock.now(), actor.id, files, facts,
                base, derivation,
            )
        )  # fmt: skip
        edges = [Edge(digest, "out", "model")]
        if base is not None:
            edges.append(Edge(base, "in", "base", _POLICIES[derivation]))
        self._registry.record(
            project, "import" if derivation == "none" else derivation, edges, actor=actor,
            params={"files": [file.path for file in files]},
        )  # fmt: skip
        return record

    def register_hosted(
        self,
        project: str,
        name: str,
        *,
        provider: str,
        model: str,
        actor: Principal,
        snapshot: str = "",
        immutable: bool = False,
        licence: str = "",
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
    ) -> ModelVersion:
        """Name a model that a provider hosts. Unless the provider promises otherwise, what answers can change."""
        check_name(name, "name of a model")
        for what, text, longest in (("provider", provider, 64), ("model", model, 256), ("snapshot", snapshot, 64)):
            if len(text) > longest or (what != "snapshot" and not text):
                raise BadModel(f"the {what} {text[:80]!r}", hint=f"1 to {longest} characters")
        document = hosted_document(provider, model, snapshot, immutable=immutable)
        artifact = self._registry.put_document(project, KIND, document, actor=actor)
        record = self._store.add(
            ModelRecord(
                project, artifact.digest, "provider", artifact.size, self._clock.now(), actor.id, provider=provider,
                provider_model=model, snapshot=snapshot, immutable=immutable,
            )
        )  # fmt: skip
        return self._name(
            project, name, record, actor, semver, reason, expected_outcome, {"licence": licence, "source": {}}
        )

    def _name(
        self, project: str, name: str, record: ModelRecord, actor: Principal, semver: str | None, reason: str,
        expected_outcome: str, meta: Mapping[str, Any],
    ) -> ModelVersion:  # fmt: skip
        version = self._registry.add_version(
            project, KIND, name, record.digest, actor=actor, semver=semver, reason=reason,
            expected_outcome=expected_outcome, meta=meta,
        )  # fmt: skip
        return _joined(version, record)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, project: str, digest: str) -> ModelRecord:
        """Return a model of the project by digest, or raise `ModelNotFound`."""
        found = self._store.get(project, parse_digest(digest))
        if found is None:
            raise ModelNotFound(
                f"the project {project!r} has no model {digest}", hint="check the digest and the project"
            )
        return found

    def version(self, project: str, name: str, label: str | None = None) -> ModelVersion:
        """Return the version of a number or an alias, the newest without `label`; raise `ModelNotFound`."""
        if label and not label[0].isdigit():
            return self._aliased(project, name, label)
        try:
            version = self._registry.version(project, KIND, name, label or None)
        except VersionNotFound as error:
            raise ModelNotFound(error.message, hint="`tetrad model list` names the models of a project") from None
        return _joined(version, self.get(project, version.digest))

    def find(self, project: str, text: str) -> ModelVersion:
        """Return the version that people call `NAME`, `NAME@1.2.0`, `NAME@best`, `NAME@sha256:…` or `sha256:…`.

        A digest that no name means is a version without a number.
        """
        name, _, label = ("", "", text) if text.startswith("sha256:") else text.partition("@")
        if not label.startswith("sha256:"):
            return self.version(project, check_name(name, "name of a model"), label)
        record = self.get(project, label)
        return self._named(project, name, record) or ModelVersion(
            name or record.digest, "", record, record.created_by, "", record.created_at
        )

    def _named(self, project: str, name: str, record: ModelRecord) -> ModelVersion | None:
        """Return the newest version that names a digest, of one name or of any."""
        found = [
            each
            for each in self._registry.versions_of(project, record.digest)
            if each.kind == KIND and name in ("", each.name)
        ]
        return _joined(max(found, key=lambda each: each.created_at), record) if found else None

    def _aliased(self, project: str, name: str, alias: str) -> ModelVersion:
        ref = self._registry.find_ref(project, alias_ref(name, alias))
        if ref is None:
            there = ", ".join(known.name.rsplit("/", 1)[-1] for known in self.aliases(project, name)) or "none"
            raise ModelNotFound(
                f"the model {name!r} has no alias {alias!r}",
                hint=f"it has {there}; `tetrad model alias {name} {alias} VERSION` sets one",
            )
        found = self._named(project, name, self.get(project, ref.digest))
        if found is None:
            raise ModelNotFound(
                f"the alias {alias!r} of {name!r} points to what is no version of it", hint="move the alias"
            )
        return found

    def versions(
        self, project: str, name: str, *, limit: int = 50, before: int | None = None
    ) -> list[tuple[int, ModelVersion]]:
        """Return versions of a model, newest first, each with the `seq` to go on before."""
        found = self._registry.versions(project, KIND, name, limit=limit, before=before)
        return [(version.seq, _joined(version, self.get(project, version.digest))) for version in found]

    def names(
        self, project: str, *, limit: int = 50, after: str = "", contains: str = "", backwards: bool = False
    ) -> list[ModelVersion]:
        """Return the newest version of every model whose name holds a text, in the order of names or against it."""
        found = self._registry.names(project, KIND, limit=limit, after=after, contains=contains, backwards=backwards)
        return [_joined(version, self.get(project, version.digest)) for version in found]

    def made_by(self, project: str, digest: str) -> Activity | None:
        """Return the activity that a model came out of, the first of several; None where nobody wrote one down."""
        found = self._registry.lineage(project, digest, depth=1).activities
        return found[0] if found else None

    # -- aliases ------------------------------------------------------------------------------------------------

    def aliases(self, project: str, name: str) -> list[Ref]:
        """Return the aliases of a model: the refs right below `models/NAME/`."""
        prefix = f"{ALIASES}/{check_name(name, 'name of a model')}/"
        found = self._registry.refs(project, prefix, limit=MAX_ALIASES)
        return [ref for ref in found if "/" not in ref.name.removeprefix(prefix)]

    def move_alias(
        self, project: str, name: str, alias: str, label: str, *, actor: Principal, expected: str | None = None,
        create: bool = False, reason: str = "",
    ) -> Ref:  # fmt: skip
        """Point an alias to a version of the model; `expected` is the digest that it points to now.

        An alias is a ref: rules and gates govern it, its moves are in the log, of several movers one wins.
        """
        target = self.version(project, check_name(name, "name of a model"), label)
        return self._registry.move_ref(
            project, alias_ref(name, alias), target.digest, expected=ABSENT if create else expected, actor=actor,
            reason=reason,
        )  # fmt: skip

    # -- prices -------------------------------------------------------------------------------------------------

    def set_price(
        self,
        project: str,
        model: str,
        *,
        input: str,  # noqa: A002 - the word that prices are called by everywhere
        output: str,
        actor: Principal,
        cache_read: str | None = None,
        cache_write: str | None = None,
        currency: str = "USD",
        tiers: Sequence[PriceTier] = (),
        source: str = "manual",
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> PriceEntry:
        """Add a line to the local price table, which goes before every public list. An empty project is every one's."""
        check_name(model, "name of a model")
        if valid_from is not None and valid_to is not None and valid_to <= valid_from:
            raise BadPrice("the price ends before it begins", hint="valid_to must be after valid_from")
        if len(currency) != 3 or not currency.isascii() or not currency.isupper():
            raise BadPrice(f"{currency[:10]!r} is no currency", hint="three capitals, like USD")
        price = ModelPrice(
            check_price(input),
            check_price(output),
            None if cache_read is None else check_price(cache_read),
            None if cache_write is None else check_price(cache_write),
            currency,
            tuple(tiers),
            source[:64],
            valid_from,
            valid_to,
        )
        entry = PriceEntry(new_id("price"), project, model, price, self._clock.now(), actor.id)
        self._store.add_price(entry)
        return entry

    def remove_price(self, project: str, price_id: str) -> None:
        """Take a line out of the local price table."""
        if not self._store.remove_price(project, price_id):
            raise ModelNotFound(f"the project {project!r} has no price {price_id!r}", code="price_not_found")

    def local_prices(self, project: str, model: str | None = None) -> Sequence[PriceEntry]:
        """Return the lines of the local price table that the project may see."""
        return self._store.prices(project, model)

    def price(
        self, project: str, model: str, *, provider: str = "", provider_model: str = "", at: datetime | None = None
    ) -> ModelPrice | None:
        """Return what a model costs at a time; None where nobody knows, which is not the same as nothing.

        The local table goes first; then the public list, by provider and model id: those given, or those that the
        newest registered version of `model` names.
        """
        moment = at or self._clock.now()
        local = current_price(self._store.prices(project, model), moment)
        if local is not None or self._price_list is None:
            return local
        if not provider:
            try:
                record = self.version(project, model).record
            except ModelNotFound:
                return None
            provider, provider_model = record.provider, record.provider_model
        return self._price_list.price(provider, provider_model or model, moment)


def _joined(version: Version, record: ModelRecord) -> ModelVersion:
    return ModelVersion(
        version.name, version.semver, record, version.author, version.author_name, version.created_at,
        version.meta.get("licence", ""),
        version.meta.get("source", {}), version.reason, version.expected_outcome,
    )  # fmt: skip
