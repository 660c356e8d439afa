"""The tree of organizations, tenants and services: what it holds, and how callers of the API change it.

What the configuration file declares is read-only here. `may_see` tells which paths the caller may know of: what lies
elsewhere is answered like what does not exist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.directory.kms import Kms
from engine.directory.organizations import Organization
from engine.directory.x509_service import X509Service
from engine.directory.x509_store import X509Store
from engine.errors import AlreadyExists, MalformedRequest, NotAuthorized, NotFound, PolicyRefusal
from engine.store import Actor, ResourceRow, Store

MaySee = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Resource:
    """An organization, tenant or service."""

    path: str
    type: str
    """`organization`, `tenant`, `kms`, `x509-service` or `x509-store`."""
    is_declared: bool
    """In the configuration file; else it was created over the API."""
    name: str | None = None
    token: str | None = None
    """Of a KMS."""
    dependencies: tuple[str, ...] | None = None
    """Of an X.509 service: the KMS and stores attached to it."""


class ResourceTree:
    """The part of the directory that knows what there is, and changes it."""

    organizations: Mapping[str, Organization]
    kms: Mapping[str, Kms]
    x509_services: Mapping[str, X509Service]
    x509_stores: Mapping[str, X509Store]
    store: Store

    def create_tenant(self, path: str, *, name: str | None, by: Actor) -> Resource:
        """Create a tenant. Raises MalformedRequest, NotFound, AlreadyExists."""
        self._find_organization(path, "{organization}.{tenant}")
        self._check_undeclared(path)
        self.store.add_resource(path=path, type="tenant", name=name, settings={}, attached=(), by=by)
        return Resource(path, "tenant", is_declared=False, name=name)

    def create_service(
        self,
        path: str,
        *,
        type: str,
        name: str | None,
        token: str | None = None,
        dependencies: Sequence[str] = (),
        by: Actor,
        may_see: MaySee,
    ) -> Resource:
        """Create a service in a tenant: of a KMS, `token` names its token; of an X.509 service, `dependencies` are
        attached. Raises MalformedRequest, NotFound, AlreadyExists, NotAuthorized, PolicyRefusal.
        """
        organization = self._find_organization(path, "{organization}.{tenant}.{service}")
        self._check_undeclared(path)
        resource = Resource(path, type, is_declared=False, name=name)
        if type == "kms":
            resource = replace(resource, token=organization.choose_token(token))
        elif type == "x509-service":
            for dependency in dependencies:
                _check_dependency(path, dependency, may_see)
            resource = replace(resource, dependencies=tuple(sorted(set(dependencies))))
        self.store.add_resource(
            path=path,
            type=type,
            name=name,
            settings={} if resource.token is None else {"token": resource.token},
            attached=resource.dependencies or (),
            by=by,
        )
        return resource

    def list_resources(self, path: str, limit: int, offset: int, may_see: MaySee) -> tuple[Resource, ...]:
        """A page of what is at and below `path`, in the order of paths. Raises NotFound if there is nothing."""
        found = {row.path: _created(row) for row in self.store.list_resources(path)}
        found |= {one.path: one for one in self._declared() if one.path == path or one.path.startswith(f"{path}.")}
        if not found:
            raise NotFound(f"There is no resource at {path}.")
        page = sorted(found)[offset : offset + limit]
        return tuple(_restricted(found[one], may_see) for one in page)

    def list_everything(self) -> tuple[Resource, ...]:
        """All that is declared and, in the organizations that are, created: by type, then by path."""
        created = (row for organization in self.organizations for row in self.store.list_resources(organization))
        found = {row.path: _created(row) for row in created} | {one.path: one for one in self._declared()}
        return tuple(sorted(found.values(), key=lambda one: (one.type, one.path)))

    def delete_resource(self, path: str, may_see: MaySee, by: Actor) -> None:
        """Delete what was created at `path` and has nothing below it. Raises NotFound, NotAuthorized, PolicyRefusal."""
        if path in self.declared_types() or path in self.organizations:
            raise NotAuthorized(f"{path} is declared in the configuration file and can be deleted only there.")
        obstacles = self.store.delete_resource(path, by=by)
        if obstacles.below:
            raise PolicyRefusal(
                f"There is still something below {path}, such as {obstacles.below[0]}; delete that first.",
                details=obstacles.below,
            )
        if obstacles.services:
            raise PolicyRefusal(
                f"{path} is attached to X.509 services; take it from their dependencies first.",
                details=sorted(service for service in obstacles.services if may_see(service)),
            )

    def add_dependency(self, service_path: str, dependency: str, may_see: MaySee, by: Actor) -> None:
        """Attach a KMS or store to an X.509 service.

        Raises NotFound, AlreadyExists, NotAuthorized for a declared service, PolicyRefusal for what cannot be attached.
        """
        _check_dependency(service_path, dependency, may_see)
        declared = self.x509_services.get(service_path)
        if declared is None:
            self.store.add_dependency(service_path, dependency, by=by)
        elif dependency in _attached(declared):
            raise AlreadyExists(f"The dependency {dependency} of {service_path} already exists.", target=dependency)
        else:
            raise _declared_service(service_path)

    def remove_dependency(self, service_path: str, dependency: str, may_see: MaySee, by: Actor) -> None:
        """Detach a KMS or store from an X.509 service. Raises NotFound, NotAuthorized for a declared service."""
        missing = NotFound(f"The service {service_path} has no dependency {dependency}.")
        if not may_see(dependency):
            raise missing
        declared = self.x509_services.get(service_path)
        if declared is None:
            self.store.remove_dependency(service_path, dependency, by=by)
        else:
            raise _declared_service(service_path) if dependency in _attached(declared) else missing

    def list_dependencies(self, service_path: str, may_see: MaySee) -> tuple[str, ...]:
        """What is attached to an X.509 service, in the order of paths. Raises NotFound."""
        declared = self.x509_services.get(service_path)
        attached = _attached(declared) if declared is not None else self.store.find_attached(service_path)
        if attached is None:
            raise NotFound(f"There is no X.509 service at {service_path}.")
        return tuple(sorted(path for path in attached if may_see(path)))

    def declared_types(self) -> dict[str, str]:
        """The type of each tenant and service that is declared, by path."""
        return {
            **{path: "tenant" for organization in self.organizations.values() for path in organization.tenants},
            **dict.fromkeys(self.kms, "kms"),
            **dict.fromkeys(self.x509_services, "x509-service"),
            **dict.fromkeys(self.x509_stores, "x509-store"),
        }

    def _declared(self) -> list[Resource]:
        kms, services = self.kms, self.x509_services
        return [
            *(Resource(organization, "organization", is_declared=True) for organization in self.organizations),
            *(
                Resource(
                    path,
                    kind,
                    is_declared=True,
                    token=kms[path].token_name if kind == "kms" else None,
                    dependencies=_attached(services[path]) if kind == "x509-service" else None,
                )
                for path, kind in self.declared_types().items()
            ),
        ]

    def _find_organization(self, path: str, form: str) -> Organization:
        """The organization of a path that has to have as many ids as `form`."""
        if path.count(".") != form.count("."):
            raise MalformedRequest(f"Expected a path {form} here, found {path.count('.') + 1} ids.")
        organization = self.organizations.get(path.partition(".")[0])
        if organization is None:
            raise NotFound(f"There is no organization {path.partition('.')[0]}.")
        return organization

    def _check_undeclared(self, path: str) -> None:
        if path in self.declared_types():
            raise AlreadyExists(f"A resource already exists at {path}, declared in the configuration.", target=path)


def _check_dependency(service_path: str, dependency: str, may_see: MaySee) -> None:
    if not may_see(dependency):
        raise NotFound(f"There is no service at {dependency}.")
    if dependency.partition(".")[0] != service_path.partition(".")[0]:
        raise PolicyRefusal(f"Expected a service of the same organization as {service_path}, found {dependency}.")


def _declared_service(path: str) -> NotAuthorized:
    return NotAuthorized(
        f"{path} is declared in the configuration file; what is attached to it can be changed only there."
    )


def _attached(service: X509Service) -> tuple[str, ...]:
    return tuple(sorted({*service.kms, *service.stores}))


def _created(row: ResourceRow) -> Resource:
    token = row.settings.get("token")
    return Resource(
        path=row.path,
        type=row.type,
        is_declared=False,
        name=row.name,
        token=None if token is None else str(token),
        dependencies=row.dependencies if row.type == "x509-service" else None,
    )


def _restricted(resource: Resource, may_see: MaySee) -> Resource:
    """Without the dependencies that the caller may not know of."""
    if resource.dependencies is None:
        return resource
    return replace(resource, dependencies=tuple(path for path in resource.dependencies if may_see(path)))
