"""Tenants and services that were created over the API, and what is attached to X.509 services among them.

What the configuration file declares is not in the tables; `declare` tells the store, so that one transaction can check
both. A write that puts something below or beside a created service holds that service's row, and a deletion takes the
row before it looks whether anything is there: neither can overtake the other, in this process or in another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, or_, select

from engine.errors import AlreadyExists, NotFound, PolicyRefusal
from engine.store.chain import Detail
from engine.store.database import Database
from engine.store.events import Trail
from engine.store.rows import ENGINE, Actor, Obstacles, ResourceRow
from engine.store.schema import dependencies, entries, keys, parent_path, resources

TENANT, KMS, X509_SERVICE, X509_STORE = "tenant", "kms", "x509-service", "x509-store"
_SHOWN = 5
"""How many of the things in the way of a deletion are named."""

_PATH = resources.c.path == bindparam("path")
_ADD = insert(resources)
_ADD_DEPENDENCY = insert(dependencies)
_COLUMNS = (resources.c.path, resources.c.type, resources.c.name, resources.c.settings)
_FIND = select(*_COLUMNS).where(_PATH)
# Whatever begins with the path and a dot, by the order of octets: a slash is next to a dot.
_LIST = (
    select(*_COLUMNS)
    .where(or_(_PATH, and_(resources.c.path > bindparam("below"), resources.c.path < bindparam("beyond"))))
    .order_by(resources.c.path)
)
_OF_SERVICE = dependencies.c.service_path == bindparam("service_path")
_LIST_DEPENDENCIES = (
    select(dependencies.c.service_path, dependencies.c.dependency_path)
    .where(dependencies.c.service_path.in_(bindparam("service_paths", expanding=True)))
    .order_by(dependencies.c.service_path, dependencies.c.dependency_path)
)
_attached = resources.alias("attached")
# One round trip for a service with all it may use; the join is empty where what is attached was declared.
_FIND_SERVICE = (
    select(dependencies.c.dependency_path, _attached.c.type, _attached.c.name, _attached.c.settings)
    .select_from(
        resources.outerjoin(dependencies, dependencies.c.service_path == resources.c.path).outerjoin(
            _attached, _attached.c.path == dependencies.c.dependency_path
        )
    )
    .where(_PATH, resources.c.type == X509_SERVICE)
    .order_by(dependencies.c.dependency_path)
)
_ATTACHED = select(dependencies.c.service_path).where(
    _OF_SERVICE, dependencies.c.dependency_path == bindparam("dependency_path")
)
_REMOVE_DEPENDENCY = delete(dependencies).where(
    _OF_SERVICE, dependencies.c.dependency_path == bindparam("dependency_path")
)
_REMOVE_DEPENDENCIES = delete(dependencies).where(_OF_SERVICE)
_REMOVE_DEPENDENTS = delete(dependencies).where(dependencies.c.dependency_path == bindparam("path"))
_DELETE = delete(resources).where(_PATH)

_HOLD = select(resources.c.type).where(_PATH).with_for_update(read=True, key_share=True)
_TAKE = select(resources.c.type).where(_PATH).with_for_update()
_CHILDREN = {
    TENANT: select(resources.c.path).where(resources.c.parent_path == bindparam("path")).limit(_SHOWN),
    KMS: select(keys.c.path).where(keys.c.kms_path == bindparam("path")).limit(_SHOWN),
    X509_STORE: select(entries.c.path).where(entries.c.store_path == bindparam("path")).limit(_SHOWN),
}
_DEPENDENTS = select(dependencies.c.service_path).where(dependencies.c.dependency_path == bindparam("path"))


class Resources(Trail):
    """The part of the store that knows what was created over the API."""

    _database: Database
    _now: Callable[[], datetime]
    _declared: Mapping[str, str] | None = None

    def declare(self, types: Mapping[str, str]) -> None:
        """Tell the type of each tenant and service that the configuration file declares, by path.

        From then on a key or an entry is only added below a service that is declared or was created.
        """
        self._declared = dict(types)

    def add_resource(
        self,
        *,
        path: str,
        type: str,
        name: str | None,
        settings: Mapping[str, object],
        attached: Iterable[str],
        by: Actor = ENGINE,
    ) -> None:
        """Create a tenant or service, with what is attached to it if it is an X.509 service.

        Raises AlreadyExists; NotFound without its tenant or without one of the attached; PolicyRefusal if one of them
        is no KMS or store, or if something of an earlier service is below the path; StoreError.
        """
        now, tenant = self._now(), parent_path(path)
        row = {
            "path": path,
            "parent_path": tenant,
            "type": type,
            "name": name,
            "settings": dict(settings),
            "created_by": by.credential_id,
            "created_at": now,
        }
        wanted = tuple(dict.fromkeys(attached))
        told: dict[str, Detail | None] = {"type": type, "name": name, "dependencies": list(wanted) or None}
        told |= {name: str(value) for name, value in settings.items()}
        links = [{"service_path": path, "dependency_path": dependency, "created_at": now} for dependency in wanted]

        def work(connection: Connection) -> None:
            if type != TENANT and _hold(connection, tenant, self._declared) != TENANT:
                raise NotFound(f"There is no tenant {tenant}; create it first.")
            for dependency in wanted:
                _hold_dependency(connection, dependency, self._declared)
            connection.execute(_ADD, row)
            if type != TENANT and _children(connection, type, path):
                raise PolicyRefusal(f"What an earlier service had is still below {path}; choose another id.")
            # A link to what was declared here once was not meant for what is created now.
            connection.execute(_REMOVE_DEPENDENTS, {"path": path})
            if links:
                connection.execute(_ADD_DEPENDENCY, links)
            self._tell_of(connection, _kind(type, "created"), by, path, told)

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_FIND, {"path": path}).first() is None:
                return None
            return AlreadyExists(f"A resource already exists at {path}.", target=path)

        self._database.write(work, explain)

    def find_resource(self, path: str) -> ResourceRow | None:
        """What was created at `path`, without what is attached to it. Raises StoreError."""
        rows = self._database.read(_FIND, {"path": path})
        return _load_resource(rows[0]) if rows else None

    def find_attached(self, service_path: str) -> Mapping[str, ResourceRow | None] | None:
        """What is attached to the X.509 service that was created at `service_path`, in the order of paths.

        None for a path whose service was not created, but declared. None as a whole: there is no such service. Raises
        StoreError.
        """
        rows = self._database.read(_FIND_SERVICE, {"path": service_path})
        if not rows:
            return None
        found = (row for row in rows if row.dependency_path is not None)
        return {
            row.dependency_path: None
            if row.type is None
            else ResourceRow(path=row.dependency_path, type=row.type, name=row.name, settings=row.settings)
            for row in found
        }

    def list_resources(self, path: str) -> tuple[ResourceRow, ...]:
        """What was created at and below `path`, with what is attached, in the database's order. Raises StoreError."""
        rows = self._database.read(_LIST, {"path": path, "below": f"{path}.", "beyond": f"{path}/"})
        services = [row.path for row in rows if row.type == X509_SERVICE]
        attached: dict[str, list[str]] = {}
        if services:
            for link in self._database.read(_LIST_DEPENDENCIES, {"service_paths": services}):
                attached.setdefault(link.service_path, []).append(link.dependency_path)
        return tuple(_load_resource(row, attached.get(row.path, ())) for row in rows)

    def delete_resource(self, path: str, *, by: Actor = ENGINE) -> Obstacles:
        """Delete what was created at `path`, unless something is in the way, which is returned.

        Raises NotFound, StoreError.
        """

        def work(connection: Connection) -> Obstacles:
            found = connection.execute(_TAKE, {"path": path}).first()
            if found is None:
                raise NotFound(f"There is no resource at {path}.")
            # Each statement sees what was committed before it: what held the row has let go of it by now.
            below = _children(connection, found.type, path)
            services = tuple(row.service_path for row in connection.execute(_DEPENDENTS, {"path": path}))
            if not below and not services:
                connection.execute(_REMOVE_DEPENDENCIES, {"service_path": path})
                connection.execute(_DELETE, {"path": path})
                self._tell_of(connection, _kind(found.type, "deleted"), by, path, {"type": found.type})
            return Obstacles(below, services)

        return self._database.write(work)

    def add_dependency(self, service_path: str, dependency_path: str, *, by: Actor = ENGINE) -> None:
        """Attach a KMS or store to a created X.509 service.

        Raises NotFound without either of them, PolicyRefusal for anything else, AlreadyExists, StoreError.
        """
        link = {"service_path": service_path, "dependency_path": dependency_path}

        def work(connection: Connection) -> None:
            _check_service(_hold(connection, service_path, {}), service_path)
            _hold_dependency(connection, dependency_path, self._declared)
            connection.execute(_ADD_DEPENDENCY, {**link, "created_at": self._now()})
            self._tell_of(connection, "dependency-attached", by, service_path, {"dependency": dependency_path})

        def explain(connection: Connection) -> AlreadyExists | None:
            if connection.execute(_ATTACHED, link).first() is None:
                return None
            return AlreadyExists(
                f"The dependency {dependency_path} of {service_path} already exists.", target=dependency_path
            )

        self._database.write(work, explain)

    def remove_dependency(self, service_path: str, dependency_path: str, *, by: Actor = ENGINE) -> None:
        """Detach a KMS or store from a created X.509 service. Raises NotFound, StoreError."""

        def work(connection: Connection) -> None:
            _check_service(_hold(connection, service_path, {}), service_path)
            link = {"service_path": service_path, "dependency_path": dependency_path}
            if connection.execute(_REMOVE_DEPENDENCY, link).rowcount != 1:
                raise NotFound(f"The service {service_path} has no dependency {dependency_path}.")
            self._tell_of(connection, "dependency-detached", by, service_path, {"dependency": dependency_path})

        self._database.write(work)


def _kind(type: str, change: str) -> str:
    """The kind of event."""
    return f"{TENANT if type == TENANT else 'service'}-{change}"


def check_places(connection: Connection, service_paths: Iterable[str], declared: Mapping[str, str] | None) -> None:
    """In a write that puts something below services: each is declared, or was created and is now held.

    Without `declared` nothing is checked. Raises NotFound.
    """
    if declared is None:
        return
    for path in sorted(set(service_paths)):
        if _hold(connection, path, declared) is None:
            raise NotFound(f"There is no service at {path}.")


def _hold(connection: Connection, path: str, declared: Mapping[str, str] | None) -> str | None:
    """The type of what is at `path`; if it was created, nobody deletes it before this transaction ends."""
    if declared is not None and path in declared:
        return declared[path]
    row = connection.execute(_HOLD, {"path": path}).first()
    return None if row is None else str(row.type)


def _hold_dependency(connection: Connection, path: str, declared: Mapping[str, str] | None) -> None:
    kind = _hold(connection, path, declared)
    if kind is None:
        raise NotFound(f"There is no service at {path}.")
    if kind not in (KMS, X509_STORE):
        raise PolicyRefusal(f"Expected a {KMS} or {X509_STORE} as a dependency, found a {kind} at {path}.")


def _check_service(kind: str | None, path: str) -> None:
    if kind != X509_SERVICE:
        raise NotFound(f"There is no X.509 service at {path}.")


def _children(connection: Connection, kind: str, path: str) -> tuple[str, ...]:
    if kind not in _CHILDREN:
        return ()
    return tuple(row.path for row in connection.execute(_CHILDREN[kind], {"path": path}))


def _load_resource(row: Row[Any], attached: Sequence[str] = ()) -> ResourceRow:
    return ResourceRow(path=row.path, type=row.type, name=row.name, settings=row.settings, dependencies=tuple(attached))
