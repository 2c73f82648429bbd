"""The adapters that a process has: loaded when the first upstream names them, never before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from tetrad.kernel import Clock
from tetrad.kit.extensions import Extensions, Kind, UnknownExtension
from tetrad.kit.upstream import Client
from tetrad.serving.ports import Provider


class ProviderMaker(Protocol):
    """What an extension of the kind `provider` is: a class, or a function, that returns a `Provider`.

    All adapters of a process share `client`. Of a stream at most `keep_bytes` are kept for the record; an answer that
    is no stream may have `answer_bytes`.
    """

    def __call__(self, client: Client, clock: Clock, *, keep_bytes: int, answer_bytes: int) -> Provider:
        """Return the adapter; called once per process and event loop, without I/O."""
        ...


PROVIDERS = Kind("provider", ProviderMaker, "speaks a protocol of upstreams")


class ProviderShelf(Mapping[str, Provider]):
    """Adapters by the name that `Upstream.adapter` gives. Looking one up imports it; looking at the names does not."""

    def __init__(
        self, client: Client, clock: Clock, *, keep_bytes: int, answer_bytes: int, extensions: Extensions | None = None
    ) -> None:
        self._extensions = extensions or Extensions([PROVIDERS])
        self._client = client
        self._clock = clock
        self._keep_bytes = keep_bytes
        self._answer_bytes = answer_bytes
        self._made: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        """Return an adapter; raises `KeyError` where there is none, `TetradError` where it cannot be loaded."""
        made = self._made.get(name)
        if made is None:
            try:
                make: ProviderMaker = self._extensions.load(PROVIDERS.name, name)
            except UnknownExtension:
                raise KeyError(name) from None
            made = self._made[name] = make(
                self._client, self._clock, keep_bytes=self._keep_bytes, answer_bytes=self._answer_bytes
            )
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(provider_names(self._extensions))

    def __len__(self) -> int:
        return len(provider_names(self._extensions))

    async def close(self) -> None:
        """End the connections of those that were loaded."""
        for provider in self._made.values():
            await provider.close()


def provider_names(extensions: Extensions | None = None) -> tuple[str, ...]:
    """Return the names of the adapters that are installed, ours and others', without importing any."""
    return tuple(found.name for found in (extensions or Extensions([PROVIDERS])).list(PROVIDERS.name))
