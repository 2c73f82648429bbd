"""Register models, find them, price them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from tetrad.kernel import Clock, Digest, Principal, new_id, parse_digest
from tetrad.models._labels import ALIASES, alias_ref
from tetrad.models._model import (
    Derivation,
    Kind,
    ModelPrice,
    ModelRecord,
    ModelVersion,
    PriceEntry,
    PriceTier,
    WeightsFacts,
    WeightsFile,
    check_batch,
    check_price,
    check_priced,
    check_units,
    current_price,
    hosted_document,
    next_change,
    weights_digest,
    weights_document,
)
from tetrad.models._origin import Origin, check_adapter, check_file_path, check_origin
from tetrad.models.errors import BadModel, BadPrice, ModelConflict, ModelNotFound
from tetrad.models.ports import Auditor, ModelStore, PriceList, Source, WeightsReader
from tetrad.registry import (
    ABSENT,
    Activity,
    Edge,
    Ref,
    Registry,
    Version,
    VersionNotFound,
    check_name,
)

KIND = "model"
LOCAL = "local"
EVERYWHERE = ""
MAX_ALIASES = 1_000
MEDIA_TYPE = "application/vnd.tetrad.weights"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What is refused as too much."""

    max_files: int = 500


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
        limits: ModelLimits | None = None,
        audit: Auditor | None = None,
        prices_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._reader = reader
        self._price_list = price_list
        self.limits = limits or ModelLimits()
        self._audit = audit
        self._prices_changed = prices_changed

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
        """Keep files of this machine in the blob store and name them; the same again is the version that is there.

        With `known_digest` files that the project has already are not read again; the rest is as `import_files` says.
        """
        check_name(name, "name of a model")
        record = self._store.get(project, parse_digest(known_digest)) if known_digest else None
        origin = Origin(base, derivation)
        if record is None:
            files = {path.name: path for path in ([paths] if isinstance(paths, Path) else paths)}
            if len(files) != (1 if isinstance(paths, Path) else len(paths)):
                raise BadModel("two files of weights have one name", hint="give each file its own name")
            for path in files.values():
                if not path.is_file():
                    raise BadModel(f"{str(path)!r} is no file", hint="name a file of weights, such as model.gguf")
            facts = self._read(project, {n: _opener(path) for n, path in files.items()}, kind, origin)
            kept = [WeightsFile(n, self._registry.put_part_file(p), p.stat().st_size) for n, p in files.items()]
            record = self._keep(project, kept, facts, kind, origin, actor)
        return self._named_version(
            project, name, record, actor, semver, reason, expected_outcome,
            {"licence": licence or record.facts.licence, "source": dict(source or {})}, free=free,
        )  # fmt: skip

    def missing_files(self, project: str, digests: Sequence[str]) -> list[Digest]:
        """Return which files a project has yet to send; to others' files a digest opens no way."""
        wanted = [parse_digest(digest) for digest in dict.fromkeys(digests)]
        return [digest for digest in wanted if digest not in self._owned(project, wanted)]

    def _owned(self, project: str, digests: Sequence[Digest]) -> set[str]:
        there = {digest for digest in digests if self._registry.sees(project, digest)}
        return there | self._store.uploads(project, [digest for digest in digests if digest not in there])

    def receive_file(self, project: str, source: BinaryIO, digest: str, *, actor: Principal) -> WeightsFile:
        """Keep a file that belongs to no model yet; memory is bounded, other bytes than `digest` names are refused.

        Nothing shows it before `import_files` names it. Sending it again changes nothing.
        """
        kept = self._registry.put_part_stream(source, expected=parse_digest(digest))
        with self._registry.open_part(kept) as file:
            size = file.seek(0, 2)
        self._store.add_upload(project, kept, size, self._clock.now(), actor.id)
        return WeightsFile("", kept, size)

    def import_files(
        self,
        project: str,
        name: str,
        files: Mapping[str, str],
        *,
        actor: Principal,
        kind: Kind = "weights",
        licence: str = "",
        origin: Origin | None = None,
        source: Mapping[str, Any] | None = None,
        allow_pickle: bool = False,
        semver: str | None = None,
        reason: str = "",
        expected_outcome: str = "",
    ) -> ModelVersion:
        """Name a model of files by path that the project has sent or has; the same again is the version that is there.

        Headers and configuration are read and must fit together. `origin` says what it was made from. Local weights
        cost nothing, in every project (engines serve the whole installation). Raises `BadModel`, `PickledWeights` for
        weights that run code, `ModelConflict` where the same files are known with another origin.
        """
        check_name(name, "name of a model")
        chosen = origin or Origin()
        listed = {check_file_path(path): parse_digest(digest) for path, digest in files.items()}
        if not 1 <= len(listed) <= self.limits.max_files:
            raise BadModel(f"{len(listed)} files of a model", hint=f"1 to {self.limits.max_files}")
        missing = self.missing_files(project, list(listed.values()))
        if missing:
            raise BadModel(f"{len(missing)} files were not sent, {missing[0]} first", hint="send them, then try again")
        facts = self._read(
            project, {path: functools.partial(self._registry.open_part, each) for path, each in listed.items()}, kind,
            chosen, allow_pickle=allow_pickle,
        )  # fmt: skip
        kept = []
        for path, digest in listed.items():
            with self._registry.open_part(digest) as file:
                kept.append(WeightsFile(path, digest, file.seek(0, 2)))
        record = self._keep(project, kept, facts, kind, chosen, actor)
        version = self._named_version(
            project, name, record, actor, semver, reason, expected_outcome,
            {"licence": licence or record.facts.licence, "source": dict(source or {})}, free=kind == "weights",
        )  # fmt: skip
        self._store.drop_uploads(project, list(listed.values()))
        return version

    def _read(
        self, project: str, sources: Mapping[str, Source], kind: Kind, origin: Origin, *, allow_pickle: bool = False
    ) -> WeightsFacts:
        """Read the facts and check them, before anything is kept."""
        if not 1 <= len(sources) <= self.limits.max_files:
            raise BadModel(f"{len(sources)} files of weights", hint=f"1 to {self.limits.max_files}")
        check_origin(kind, origin)
        for edge in origin.inputs:
            self._registry.artifact(project, edge.digest)
        base = self.get(project, origin.base) if origin.base else None
        facts = self._reader(sources, allow_pickle=allow_pickle) if self._reader else WeightsFacts()
        if kind == "adapter" and base is not None:
            opened = {file.path: functools.partial(self._registry.open_part, file.digest) for file in base.files}
            return check_adapter(facts, sources, base, opened)
        return facts

    def _keep(
        self, project: str, files: Sequence[WeightsFile], facts: WeightsFacts, kind: Kind, origin: Origin,
        actor: Principal,
    ) -> ModelRecord:  # fmt: skip
        digest = weights_digest(files)
        known = self._store.get(project, digest)
        if known is not None and (known.kind, known.base, known.derivation) != (kind, origin.base, origin.derivation):
            raise ModelConflict(
                f"the same files are a model of the project, {digest}, with another origin",
                hint="what a model was made from is said once; name that version instead",
            )
        if len(files) == 1:
            self._registry.put_kept(project, KIND, digest, actor=actor, media_type=MEDIA_TYPE)
        else:
            parts = [(file.digest, "weights") for file in files]
            self._registry.put_document(project, KIND, weights_document(files), actor=actor, parts=parts)
        ordered = tuple(sorted(files, key=lambda file: file.path))
        record = self._store.add(
            ModelRecord(
                project, digest, kind, sum(file.size for file in files), self._clock.now(), actor.id, ordered, facts,
                origin.base, origin.derivation,
            )
        )  # fmt: skip
        if self.made_by(project, digest) is not None:  # an import that was stopped has written it down
            return record
        edges = [Edge(digest, "out", kind if kind == "adapter" else "model"), *origin.inputs]
        if origin.base is not None:
            edges.append(Edge(origin.base, "in", "base", "rebuild"))
        said = {"params": origin.params, "seeds": origin.seeds, "metrics": origin.metrics}
        told = {name: dict(values) for name, values in said.items() if values}
        self._registry.record(
            project, "import" if origin.derivation == "none" else origin.derivation, edges, actor=actor,
            params={"files": [file.path for file in ordered], **told},
            environment=origin.environment,
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
        return self._named_version(
            project, name, record, actor, semver, reason, expected_outcome, {"licence": licence, "source": {}}
        )

    def _named_version(
        self, project: str, name: str, record: ModelRecord, actor: Principal, semver: str | None, reason: str,
        expected_outcome: str, meta: Mapping[str, Any], *, free: bool = False,
    ) -> ModelVersion:  # fmt: skip
        version = self._registry.add_version(
            project, KIND, name, record.digest, actor=actor, semver=semver, reason=reason,
            expected_outcome=expected_outcome, meta=meta,
        )  # fmt: skip
        if free and not self._store.prices(EVERYWHERE, name):
            self.set_price(EVERYWHERE, name, input="0", output="0", source=LOCAL, actor=actor)
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

    def delete_alias(
        self, project: str, name: str, alias: str, *, actor: Principal, expected: str, reason: str = ""
    ) -> None:
        """Take an alias away for good: its moves stay in the log, and no alias of the model is called so again.

        Raises `RefMoved` where it does not point to `expected`, and what its gate says where one governs it.
        """
        where = alias_ref(check_name(name, "name of a model"), alias)
        self._registry.delete_ref(project, where, expected=expected, actor=actor, reason=reason)

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
        units: Mapping[str, str] | None = None,
        batch: str | None = None,
        currency: str = "USD",
        tiers: Sequence[PriceTier] = (),
        source: str = "manual",
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> PriceEntry:
        """Add a line to the local price table, which goes before every public list. An empty project is every one's."""
        check_priced(model)
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
            units=check_units(units or {}),
            batch=None if batch is None else check_batch(batch),
        )
        entry = PriceEntry(new_id("price"), project, model, price, self._clock.now(), actor.id)
        self._store.add_price(entry)
        self._noted(actor, "model_price.set", entry)
        return entry

    def remove_price(self, project: str, price_id: str, *, actor: Principal) -> None:
        """Take a line out of the local price table; what holds then counts again."""
        gone = next((entry for entry in self._store.prices(project, None) if entry.id == price_id), None)
        if gone is None or not self._store.remove_price(project, price_id):
            raise ModelNotFound(
                f"the project {project!r} has no price {price_id!r}",
                hint="`tetrad model price list` names its own; one of every project is not a project's to take away",
                code="price_not_found",
            )
        self._noted(actor, "model_price.removed", gone)

    def _noted(self, actor: Principal, action: str, entry: PriceEntry) -> None:
        if self._audit is not None:
            price = entry.price
            self._audit(
                actor, action, entry.model, entry.project or None, id=entry.id, input=price.input, output=price.output,
                currency=price.currency, units=price.units, batch=price.batch,
            )  # fmt: skip
        self._prices_changed()

    def next_price_change(self, after: datetime) -> datetime | None:
        """Return when the next price of any project's table begins or ends, None where none does."""
        return next_change(self._store.prices(None, None), after)

    def local_prices(self, project: str, model: str | None = None) -> Sequence[PriceEntry]:
        """Return the lines of the local price table that the project may see."""
        return self._store.prices(project, model)

    def own_prices(self) -> dict[tuple[str, str], ModelPrice]:
        """Return what projects say now that models cost them, by project and model; not what is said for all."""
        lines: dict[tuple[str, str], list[PriceEntry]] = {}
        for entry in self._store.prices(None, None):
            if entry.project != EVERYWHERE:
                lines.setdefault((entry.project, entry.model), []).append(entry)
        now = self._clock.now()
        return {name: found for name, each in lines.items() if (found := current_price(each, now)) is not None}

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


def _opener(path: Path) -> Source:
    return lambda: path.open("rb")


def _joined(version: Version, record: ModelRecord) -> ModelVersion:
    return ModelVersion(
        version.name, version.semver, record, version.author, version.author_name, version.created_at,
        version.meta.get("licence", ""),
        version.meta.get("source", {}), version.reason, version.expected_outcome,
    )  # fmt: skip
