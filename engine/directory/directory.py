"""The live tree: what each path names, and the threads that requests are walked in."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from engine.directory.accounts import Accounts
from engine.directory.audit_guard import AuditGuard
from engine.directory.created import CreatedServices
from engine.directory.credentials import Credential, find_credential, find_former_credential
from engine.directory.kms import Kms
from engine.directory.organizations import Organization
from engine.directory.refusals import Refusals
from engine.directory.resources import ResourceTree
from engine.directory.x509_service import X509Service
from engine.directory.x509_store import X509Store
from engine.errors import NotFound, TokenBusy, TokenUnavailable
from engine.store import KeptAnswer, Store
from engine.token import Token

T = TypeVar("T")


class Threads:
    """The engine's own threads, with a bounded queue: a slow token must not hold the event loop or hoard requests."""

    def __init__(self, threads: int, queue: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="corridor")
        self._limit = threads + queue
        self._seconds = seconds
        self._waiting = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in a thread. Call from the event loop only.

        Raises TokenBusy if too many wait already, TokenUnavailable if it takes longer than a request may. What has
        begun is not cut off then: a signature that is under way is still recorded. What has not is not done any more.
        """
        if self._waiting >= self._limit:
            raise TokenBusy(f"{self._waiting} requests wait for the token already; try again later.")
        self._waiting += 1
        work = self._pool.submit(function)
        future = asyncio.wrap_future(work)
        future.add_done_callback(self._done)
        done, _ = await asyncio.wait({future}, timeout=self._seconds)
        if not done:
            work.cancel()
            raise TokenUnavailable(
                f"The token or the database did not answer within {self._seconds:g} seconds; try again later."
            )
        return future.result()

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown(wait=True)


@dataclass(frozen=True, slots=True)
class Directory(ResourceTree):
    """Every service by its path, and the tokens and store behind them. What is declared wins over what was created."""

    organizations: Mapping[str, Organization]
    kms: Mapping[str, Kms]
    x509_services: Mapping[str, X509Service]
    x509_stores: Mapping[str, X509Store]
    created: CreatedServices
    tokens: Mapping[str, Token]
    store: Store = field(repr=False)
    accounts: Accounts = field(repr=False)
    refusals: Refusals = field(repr=False)
    threads: Threads = field(repr=False)
    guard: AuditGuard = field(default_factory=AuditGuard, repr=False)

    def find_credential(self, secret: str) -> Credential | None:
        """The credential with this secret, or None."""
        return find_credential(self.store, secret)

    def find_former_credential(self, secret: str) -> str | None:
        """The id of the credential that this secret was of, and is no more."""
        return find_former_credential(self.store, secret)

    def find_kept_answer(self, scope: str, key: str) -> KeptAnswer | None:
        """What is kept of a request with that credential's Idempotency-Key, or None."""
        return self.store.find_kept_answer(scope, key)

    def check_host(self, path: str, host: str) -> None:
        """Raises NotFound if the organization of `path` has host aliases and `host` (a Host header) is none of them."""
        organization = self.organizations.get(path.partition(".")[0])
        if organization is not None:
            organization.check_host(host)

    def find_kms(self, path: str) -> Kms:
        """The KMS at `path`. NotFound otherwise."""
        return _found(self.kms.get(path) or self.created.find_kms(path), path, "KMS")

    def x509_service(self, path: str) -> X509Service:
        """The X.509 service at `path`. NotFound otherwise."""
        return _found(self.x509_services.get(path) or self.created.find_x509_service(path), path, "X.509 service")

    def x509_store(self, path: str) -> X509Store:
        """The certificate store at `path`. NotFound otherwise."""
        return _found(self.x509_stores.get(path) or self.created.find_x509_store(path), path, "certificate store")

    def states(self) -> Mapping[str, str]:
        """The state of each token, of the store and of the audit trail, in words; `ready` when it is."""
        tokens = {f"token {name}": token.state() for name, token in self.tokens.items()}
        return {**tokens, "store": self.store.state(), **self.guard.states()}

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the engine's own threads."""
        return await self.threads.run(function)


def _found(service: T | None, path: str, kind: str) -> T:
    if service is None:
        raise NotFound(f"There is no {kind} at {path}.")
    return service
