"""Group commit: concurrent writes share a transaction, so durability costs one sync per batch, not one per write.

A single thread owns the write connection. It takes whatever callers have ready, runs each write inside a savepoint of
its own, and commits once; callers wait until that COMMIT has returned. A write that contradicts a constraint fails
alone. A database that fails takes the batch with it: every caller of the batch gets a StoreError, nothing of the batch
is acknowledged, and the next batch starts afresh.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Lock, Thread
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from engine.errors import EngineError, StoreError

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Work = Callable[[Connection], Answer]
"""Statements of one write. Runs in the writer's thread; may raise an EngineError to undo itself."""
Explain = Callable[[Connection], EngineError | None]
"""Asked after a constraint refused the work and the work was undone: what is in its way?"""


def _unexplained(connection: Connection) -> None:
    return None


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
        """Do the work or undo it. Lets a fault of the database itself pass: that one is not this item's alone."""
        connection.exec_driver_sql("SAVEPOINT item")
        try:
            self._answer.append(self._work(connection))
        except (EngineError, StatementError, ValueError, TypeError, OverflowError) as error:
            if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
                raise
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT item")
            self._refusal = self._refuse(connection, error)
            if self._refusal is not error:
                self._refusal.__cause__ = error
        connection.exec_driver_sql("RELEASE SAVEPOINT item")

    def _refuse(self, connection: Connection, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, IntegrityError):
            return self._explain(connection) or StoreError("The record contradicts what is in the database.")
        return StoreError("The record holds a value that the database cannot keep.")

    def settle(self) -> None:
        """Tell the caller the outcome; the COMMIT has returned."""
        if self._refusal is not None:
            self.future.set_exception(self._refusal)
        else:
            self.future.set_result(self._answer[0])

    def fail(self, message: str, cause: BaseException | None) -> None:
        """Tell the caller that nothing of it is known to be durable."""
        error = StoreError(message)
        error.__cause__ = cause
        self.future.set_exception(error)


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
        self._lock = Lock()
        self._something = Condition(self._lock)
        self._room = Condition(self._lock)
        # A daemon, so that a program that forgot to close does not hang at its end; what it then cuts off was
        # not acknowledged.
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

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
                raise StoreError(f"The database has been behind by {self._queue_limit} records for too long.")
            if self._closing:
                raise StoreError("The store is closed.")
            self._pending.append(item)
            self._something.notify()
        return item.future.result()

    def close(self) -> None:
        """Commit what is waiting, refuse what comes later, and return when the thread has ended."""
        with self._lock:
            self._closing = True
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
        try:
            with self._engine.begin() as connection:
                for item in batch:
                    item.attempt(connection)
        except SQLAlchemyError as error:
            _log.error("A batch of %d records was not committed.", len(batch), exc_info=error)
            for item in batch:
                item.fail("The database did not commit the record.", error)
        else:
            for item in batch:
                item.settle()

    def _abandon(self, batch: Sequence[_Item[Any]]) -> None:
        with self._lock:
            self._closing = True
            abandoned = [item for item in (*batch, *self._pending) if not item.future.done()]
            self._pending.clear()
            self._room.notify_all()
        for item in abandoned:
            item.fail("The store has stopped.", None)
