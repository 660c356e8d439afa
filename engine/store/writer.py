"""Group commit: concurrent writes share a transaction, so durability costs one sync per batch, not one per write.

A single thread owns the write connection. It takes whatever callers have ready, runs all of it in one transaction and
commits once; callers wait until that COMMIT has returned. A write that contradicts a constraint fails alone: the
transaction is undone and repeated with a savepoint before each write. One that meets another process' writes, a
deadlock for instance, is repeated with a transaction for each write. What a batch tells for the audit trail is written
at its end with one statement; whatever undoes a write also takes back what it told. A database that fails takes the
batch with it: every caller of the batch gets a StoreError, nothing of the batch is acknowledged, and the next batch
starts afresh.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, Lock, Thread
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from engine.errors import EngineError, StoreError, StoreUnavailable
from engine.store.chain import EventChain
from engine.store.faults import LOCK_TIMEOUT, READ_ONLY, Fault, fault_of, sqlstate_of, store_error

_log = logging.getLogger(__name__)

WRITER = "writer"
"""Under this key of its `info` a write connection has the number that stands for it in what it writes."""
WARNINGS = "warnings"
"""And under this one, on PostgreSQL, what the server has warned of."""
IN_PLACE = "in-place"
"""And under this one, for SQLite, what raises StoreUnavailable when the connection's files are not where they were."""
_CHAIN = "chain"
_CONFLICTS = 5
"""How often a write is repeated that gives way to those of other processes."""
_NOT_COMMITTED = "The database did not commit the record."
_EXHAUSTED = (MemoryError, RecursionError)
"""What any line may raise. SQLite's NOMEM comes as the first of them."""
_UNCONFIRMED = "The database did not confirm its COMMIT; whether the record was kept is not known."

Answer = TypeVar("Answer")
Work = Callable[[Connection], Answer]
"""Statements of one write. Runs in the writer's thread, more than once if it has to be repeated, and then after what it
did was undone; may raise an EngineError to undo itself."""
Explain = Callable[[Connection], EngineError | None]
"""Asked after a constraint refused the work and the work was undone: what is in its way?"""


def writer_of(connection: Connection) -> int:
    """For work: the number of the writer, to be kept with what lives no longer than the writer does."""
    number: int = connection.info[WRITER]
    return number


def chain_of(connection: Connection) -> EventChain:
    """For work: the chain of events of this connection. It lives no longer than the connection does."""
    chain = connection.info.get(_CHAIN)
    if chain is None:
        chain = connection.info[_CHAIN] = EventChain(connection.info.get(WRITER))
    if not isinstance(chain, EventChain):
        raise TypeError("A connection has a chain of events.")
    return chain


def _unexplained(connection: Connection) -> None:
    return None


class _RefusedError(Exception):
    """A write was refused where it cannot be undone alone."""


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns into a _RefusedError what is wrong with one write and not with the database."""
    try:
        yield
    except (EngineError, SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, SQLAlchemyError) and fault_of(error) is not Fault.REFUSED:
            raise
        raise _RefusedError from error


class UnconfirmedError(Exception):
    """The database was asked to commit and did not say that it had."""


class _Item(Generic[Answer]):
    """One write on its way: the work, then its outcome, then, after the COMMIT, the future its caller waits on."""

    __slots__ = ("_answer", "_explain", "_refusal", "_work", "future")

    def __init__(self, work: Work[Answer], explain: Explain) -> None:
        self._work = work
        self._explain = explain
        self._answer: list[Answer] = []
        self._refusal: EngineError | None = None
        self.future: Future[Answer] = Future()

    def attempt(self, connection: Connection) -> None:
        """Do the work. Raises _RefusedError if it is refused, and lets a fault that is not this item's alone pass."""
        self._refusal = None
        with _refusing():
            self._answer = [self._work(connection)]

    def attempt_alone(self, connection: Connection) -> None:
        """Do the work and write what it tells, or undo it and nothing else. Lets a fault that is not this item's alone
        pass."""
        connection.exec_driver_sql("SAVEPOINT item")
        chain = chain_of(connection)
        before = chain.mark()
        try:
            self.attempt(connection)
            with _refusing():
                chain.write(connection)
        except _RefusedError as refused:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT item")
            chain.restore(before)
            error = refused.__cause__
            self._refusal = self._refuse(connection, error)
            if self._refusal is not error:
                self._refusal.__cause__ = error
        connection.exec_driver_sql("RELEASE SAVEPOINT item")

    def _refuse(self, connection: Connection, error: BaseException | None) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, IntegrityError):
            return self._explain(connection) or StoreError("The record contradicts what is in the database.")
        return StoreError("The record holds a value that the database cannot keep.")

    def fail(self, error: StoreError, cause: BaseException | None) -> None:
        """Tell the caller that nothing of it is known to be durable."""
        error.__cause__ = cause
        self.future.set_exception(error)

    def settle(self) -> None:
        """Tell the caller the outcome; the COMMIT has returned."""
        if self._refusal is not None:
            self.future.set_exception(self._refusal)
        else:
            self.future.set_result(self._answer[0])


class GroupWriter:
    """The writer thread and the bounded queue before it. Thread-safe."""

    def __init__(
        self, engine: Engine, *, queue_limit: int = 1024, batch_limit: int = 256, queue_seconds: float = 10.0
    ) -> None:
        self._engine = engine
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._queue_seconds = queue_seconds
        self._pending: deque[_Item[Any]] = deque()
        self._closing = False
        self._was_closed = False
        self._lock = Lock()
        self._something = Condition(self._lock)
        self._room = Condition(self._lock)
        # A daemon, so that a program that forgot to close does not hang at its end; what it then cuts off was
        # not acknowledged.
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def has_stopped(self) -> bool:
        """Whether nothing will be written any more, though nobody has closed it."""
        return not self._thread.is_alive() and not self._was_closed

    @property
    def waiting(self) -> int:
        """How many writes wait for the next batch."""
        with self._lock:
            return len(self._pending)

    def write(self, work: Work[Answer], explain: Explain = _unexplained) -> Answer:
        """What `work` returns, once it is durable. Raises the work's own EngineError, `explain`'s, or StoreError."""
        item = _Item(work, explain)
        with self._lock:
            if not self._room.wait_for(self._takes_more, timeout=self._queue_seconds):
                raise StoreUnavailable(f"The database has been behind by {self._queue_limit} records for too long.")
            if self._closing:
                raise StoreError("The store is closed.")
            self._pending.append(item)
            self._something.notify()
        return item.future.result()

    def close(self) -> None:
        """Commit what is waiting, refuse what comes later, and return when the thread has ended."""
        with self._lock:
            self._closing = self._was_closed = True
            self._something.notify_all()
            self._room.notify_all()
        self._thread.join()

    def _takes_more(self) -> bool:
        return self._closing or len(self._pending) < self._queue_limit

    def _run(self) -> None:
        batch: Sequence[_Item[Any]] = ()
        try:
            while batch := self._take():
                self._commit(batch)
        finally:
            # Empty unless the loop was left by an error nobody foresaw: then the store stays closed, and no caller
            # waits for ever.
            self._abandon(batch)

    def _take(self) -> list[_Item[Any]]:
        """The next batch; empty when the writer is closed and nothing is left."""
        with self._lock:
            while not self._pending and not self._closing:
                self._something.wait()
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), self._batch_limit))]
            self._room.notify(len(batch))
            return batch

    def _commit(self, batch: Sequence[_Item[Any]]) -> None:
        """Bring every item of the batch to its end."""
        apart = reconnected = False
        conflicts = 0
        while True:
            try:
                self._transact(batch, apart=apart)
            except _RefusedError:
                apart = True
            except UnconfirmedError as error:
                _log.error("A batch of %d records may have been committed or not.", len(batch), exc_info=error)
                for item in batch:
                    item.fail(StoreUnavailable(_UNCONFIRMED), error)
                return
            except StoreUnavailable as error:
                _log.error("A batch of %d records was not begun: %s", len(batch), error.message)
                for item in batch:
                    item.fail(StoreUnavailable(error.message), error)
                return
            except _EXHAUSTED as error:
                _log.error("A batch of %d records was not committed.", len(batch), exc_info=error)
                for item in batch:
                    item.fail(StoreUnavailable(f"{_NOT_COMMITTED[:-1]}: there is not enough memory."), error)
                return
            except SQLAlchemyError as error:
                if fault_of(error) is Fault.CONFLICT and len(batch) > 1:
                    for item in batch:
                        self._commit([item])
                    return
                if _gave_way(error) and conflicts < _CONFLICTS:
                    conflicts += 1
                    time.sleep(random.uniform(0, 0.02 * conflicts))  # noqa: S311 (so that two do not meet again)
                elif _is_lost(error) and not reconnected:
                    reconnected = True  # what was done on the lost connection is undone
                else:
                    _log.error("A batch of %d records was not committed.", len(batch), exc_info=error)
                    for item in batch:
                        item.fail(store_error(error, _NOT_COMMITTED), error)
                    return
            else:
                for item in batch:
                    item.settle()
                return

    def _transact(self, batch: Sequence[_Item[Any]], *, apart: bool) -> None:
        """One transaction. With `apart` each item is undone alone if it is refused; else _RefusedError undoes all."""
        with self._engine.connect() as connection:
            check_in_place: Callable[[], None] = connection.info.get(IN_PLACE, _is_anywhere)
            check_in_place()
            warnings = connection.info.get(WARNINGS, [])
            chain = chain_of(connection)
            before = chain.mark()
            try:
                with connection.begin() as transaction:
                    for item in batch:
                        if apart:
                            item.attempt_alone(connection)
                        else:
                            item.attempt(connection)
                    with _refusing():
                        chain.write(connection)
                    warnings.clear()
                    _confirm(transaction)
            except BaseException as error:
                chain.restore(before)
                is_elsewhere = isinstance(error, DBAPIError) and sqlstate_of(error) == READ_ONLY
                # Another server may be the one to write to by now; or nobody knows what was left undone.
                if is_elsewhere or isinstance(error, _EXHAUSTED) or isinstance(error.__cause__, _EXHAUSTED):
                    connection.invalidate(error)
                raise
            if warnings:
                # PostgreSQL does so when it gave up waiting for a standby.
                raise UnconfirmedError(f"The database warned: {warnings[0]}")
            try:
                check_in_place()
            except StoreUnavailable as error:
                raise UnconfirmedError("The database went away during the COMMIT.") from error

    def _abandon(self, batch: Sequence[_Item[Any]]) -> None:
        with self._lock:
            self._closing = True
            abandoned = [item for item in (*batch, *self._pending) if not item.future.done()]
            self._pending.clear()
            self._room.notify_all()
        for item in abandoned:
            item.fail(StoreError("The store has stopped."), None)


def _is_anywhere() -> None:
    """In place, as far as can be told."""


def _confirm(transaction: RootTransaction) -> None:
    try:
        transaction.commit()
    except DBAPIError as error:
        if _is_lost(error):
            raise UnconfirmedError("The connection was lost during the COMMIT.") from error
        raise
    except _EXHAUSTED as error:
        raise UnconfirmedError("There was not enough memory during the COMMIT.") from error


def _is_lost(error: SQLAlchemyError) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _gave_way(error: SQLAlchemyError) -> bool:
    """Whether a repetition is likely to pass. One that waited in vain for a lock has had its time."""
    return fault_of(error) is Fault.CONFLICT and sqlstate_of(error) != LOCK_TIMEOUT
