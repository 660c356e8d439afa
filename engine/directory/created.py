"""Live services from what was created over the API, read for each request: other processes may change it.

A service that was created has the rights that the configuration file gives to all such services of its organization.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.directory.audit_guard import AuditGuard
from engine.directory.custody import CustodyWatch
from engine.directory.evidence import EvidenceRoom
from engine.directory.kms import Kms
from engine.directory.organizations import CreatedServicePolicy, Organization
from engine.directory.x509_service import X509Service
from engine.directory.x509_store import X509Store
from engine.errors import NotAuthorized
from engine.issuance import Corridor
from engine.store import ResourceRow, Store
from engine.token import Token

_SERVICE_DOTS = 2
"""In `{organization}.{tenant}.{service}`."""


@dataclass(frozen=True, slots=True)
class CreatedServices:
    """Finds services that were created. What may be attached to them is created or declared."""

    organizations: Mapping[str, Organization]
    declared_kms: Mapping[str, Kms]
    declared_stores: Mapping[str, X509Store]
    tokens: Mapping[str, Token]
    watches: Mapping[str, CustodyWatch] = field(repr=False)
    """By token: what a request has examined counts for the next."""
    store: Store = field(repr=False)
    corridor: Corridor = field(repr=False)
    evidence: EvidenceRoom = field(repr=False)
    guard: AuditGuard = field(default_factory=AuditGuard, repr=False)

    def find_kms(self, path: str) -> Kms | None:
        """The KMS that was created at `path`. Raises NotAuthorized if it may not be on its token any more."""
        row = self._find(path, "kms")
        return None if row is None else self._build_kms(row)

    def find_x509_store(self, path: str) -> X509Store | None:
        """The certificate store that was created at `path`."""
        row = self._find(path, "x509-store")
        return None if row is None else X509Store(path=path, store=self.store, evidence=self.evidence)

    def find_x509_service(self, path: str) -> X509Service | None:
        """The X.509 service that was created at `path`, with what is attached to it."""
        policy = self._policy(path)
        attached = None if policy is None else self.store.find_attached(path)
        if policy is None or attached is None:
            return None
        kms: dict[str, Kms | ResourceRow] = {}
        stores: list[str] = []
        for dependency, row in attached.items():
            if dependency in self.declared_kms:
                kms[dependency] = self.declared_kms[dependency]
            elif dependency in self.declared_stores or (row is not None and row.type == "x509-store"):
                stores.append(dependency)
            elif row is not None and row.type == "kms":
                kms[dependency] = row
        return X509Service(
            path=path,
            kms=_AttachedKms(kms, self._build_kms),
            stores=tuple(stores),
            store=self.store,
            corridor=self.corridor,
            jwk_token=self.tokens[policy.tokens[0]] if policy.allow_jwk_signing_keys and policy.tokens else None,
            custody_minutes=policy.custody_minutes,
        )

    def _policy(self, path: str) -> CreatedServicePolicy | None:
        """What the organization of a service allows; None for a path at which no service can be."""
        organization = self.organizations.get(path.partition(".")[0])
        if organization is None or path.count(".") != _SERVICE_DOTS:
            return None
        return organization.created_services

    def _find(self, path: str, kind: str) -> ResourceRow | None:
        if self._policy(path) is None:
            return None
        row = self.store.find_resource(path)
        return row if row is not None and row.type == kind else None

    def _build_kms(self, row: ResourceRow) -> Kms:
        policy, token_name = self._policy(row.path), str(row.settings.get("token"))
        if policy is None or token_name not in policy.tokens:
            organization = row.path.partition(".")[0]
            raise NotAuthorized(
                f"The KMS {row.path} has its keys on the token {token_name}, which the setting tokens of the "
                f"created-services of {organization} does not name."
            )
        return Kms(
            path=row.path,
            token_name=token_name,
            token=self.tokens[token_name],
            store=self.store,
            allow_adopt=policy.allow_adopt,
            allow_import=policy.allow_import,
            allow_delete_in_use=policy.allow_delete_in_use,
            watch=self.watches[token_name],
            guard=self.guard,
        )


class _AttachedKms(Mapping[str, Kms]):
    """The KMS of a created service by path. One is built when it is asked for: a request uses one of them, or none."""

    def __init__(self, attached: Mapping[str, Kms | ResourceRow], build: Callable[[ResourceRow], Kms]) -> None:
        self._attached = attached
        self._build = build

    def __getitem__(self, path: str) -> Kms:
        found = self._attached[path]
        return found if isinstance(found, Kms) else self._build(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._attached)

    def __len__(self) -> int:
        return len(self._attached)
