"""Telling what happens, for the audit trail: in the transaction that makes it so, or in one of its own."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, literal_column, select

from engine.store.chain import SUCCESS, Detail, Event
from engine.store.database import Database
from engine.store.differences import list_differences
from engine.store.rows import ENGINE, Actor, Operator
from engine.store.schema import ENGINE_STARTED, events
from engine.store.statements import FIND_STATEMENT, keep_statement
from engine.store.writer import chain_of

# A literal, since the index of the starts is of no use to a statement whose kind is a parameter.
_LAST_START = (
    select(events.c.details)
    .where(events.c.kind == literal_column(f"'{ENGINE_STARTED}'"))
    .order_by(events.c.recorded_at.desc())
    .limit(1)
)


class Trail:
    """The part of the store that tells what happens."""

    _database: Database
    _now: Callable[[], datetime]

    def _tell(self, connection: Connection, *told: Event) -> None:
        """For work: what the transaction does, to be committed with it or not at all."""
        chain = chain_of(connection)
        for event in told:
            chain.append(event, self._now())

    def _tell_of(
        self,
        connection: Connection,
        kind: str,
        by: Actor,
        target: str,
        details: Mapping[str, Detail | None] | None = None,
        *,
        outcome: str = SUCCESS,
    ) -> None:
        """As `_tell`, of what somebody has done to `target`."""
        self._tell(connection, _event(kind, by, target, details or {}, outcome))

    def record_start(
        self, *, version: str, configuration_sha256: str, policy: str, purpose: str, host: str, source: str
    ) -> None:
        """The engine starts; a policy, or else a file, that is not the one of the start before is told as well.

        `policy` is canonical JSON and kept, so that what has changed can be named. `source` is who has started it.
        Raises StoreError.
        """
        by = Operator(ENGINE.credential_id, source)
        policy_sha256 = hashlib.sha256(policy.encode()).hexdigest()
        started: dict[str, Detail | None] = {
            "version": version,
            "configurationSha256": configuration_sha256,
            "policySha256": policy_sha256,
            "purpose": purpose,
            "host": host,
            "processId": os.getpid(),
        }

        def work(connection: Connection) -> None:
            last = connection.execute(_LAST_START).scalar_one_or_none()
            before = {} if last is None else json.loads(last)
            keep_statement(connection, policy, self._now())
            self._tell_of(connection, ENGINE_STARTED, by, "", started)
            if before.get("policySha256", policy_sha256) != policy_sha256:
                self._tell_changed_policy(connection, by, str(before["policySha256"]), policy_sha256, policy)
            elif before.get("configurationSha256", configuration_sha256) != configuration_sha256:
                changed = {
                    "configurationSha256": configuration_sha256,
                    "previousConfigurationSha256": str(before["configurationSha256"]),
                }
                self._tell_of(connection, "configuration-changed", by, "", changed)

        self._database.write(work)

    def _tell_changed_policy(self, connection: Connection, by: Actor, before: str, after: str, policy: str) -> None:
        kept = connection.execute(FIND_STATEMENT, {"sha256": before}).scalar_one_or_none()
        told: dict[str, Detail | None] = {
            "policySha256": after,
            "previousPolicySha256": before,
            "changed": None if kept is None else list_differences(json.loads(kept), json.loads(policy)),
        }
        self._tell_of(connection, "policy-changed", by, "", told)

    def record_event(
        self,
        kind: str,
        by: Actor,
        target: str = "",
        details: Mapping[str, Detail | None] | None = None,
        *,
        outcome: str = SUCCESS,
    ) -> None:
        """Tell of what is in no table but this. Returns when it is durable. Raises StoreError."""
        self.record_events([_event(kind, by, target, details or {}, outcome)])

    def record_events(self, told: Sequence[Event]) -> None:
        """As `record_event`, of several things that belong together."""
        self._database.write(lambda connection: self._tell(connection, *told))


def _event(kind: str, by: Actor, target: str, details: Mapping[str, Detail | None], outcome: str) -> Event:
    return Event(kind, outcome, by.credential_id, by.source, target, by.request_id, details)
