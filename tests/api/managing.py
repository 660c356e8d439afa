"""A store that does something else at a certain moment, to put calls that race, fail or are cut off into an order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from engine.directory import Kms
from engine.store import Store


class Interrupted(BaseException):
    """As if the process had ended here."""


class Meanwhile:
    """The store, but that `before` is called before the first call of one of its methods."""

    def __init__(self, store: Store, method: str, before: Callable[[], object]) -> None:
        self._store = store
        self._method = method
        self._before: list[Callable[[], object]] = [before]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._before:
            self._before.pop()()
        return getattr(self._store, name)


def meanwhile(kms: Kms, method: str, before: Callable[[], object]) -> Kms:
    """The KMS, on such a store."""
    return replace(kms, store=cast(Store, Meanwhile(kms.store, method, before)))
