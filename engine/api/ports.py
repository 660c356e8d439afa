"""What the routes need from below: services found by path, credentials, and threads to work in.

The directory satisfies these; tests of this room satisfy them with less. Every method but `run` is synchronous and
is called inside `run`, so none of them may hold the event loop.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from engine.directory import (
    DeletedKey,
    EntryOrder,
    IacaSigner,
    IssuerChoice,
    KeyDescriptor,
    KeyRecord,
    Permission,
    Refusal,
    Resource,
    SubjectSource,
)
from engine.issuance import Caller, IssuedCertificate, IssuedRequest
from engine.profiles.orders import (
    DocumentSignerOrder,
    DocumentSignerRequestOrder,
    GenericOrder,
    GenericRequestOrder,
    IacaOrder,
)

Answer = TypeVar("Answer")


class Credential(Protocol):
    """A known API key, or the session of an account."""

    @property
    def id(self) -> str:
        """The name of the credential in the records, `account:<email>` for a session; not secret."""

    def may_use(self, path: str, /) -> bool:
        """Whether `path` lies inside the credential's scope."""

    def may(self, permission: Permission, /) -> bool:
        """Whether one of its roles has the permission."""

    @property
    def issues_below(self) -> str | None:
        """The path at and below which it may issue; None: it may not."""


class StoredCertificate(Protocol):
    """An entry of a certificate store."""

    @property
    def path(self) -> str:
        """The full path."""

    @property
    def type(self) -> str:
        """`base` or `vical-entry`."""

    @property
    def der(self) -> bytes:
        """The Certificate (RFC 5280), DER."""

    @property
    def metadata(self) -> Mapping[str, object] | None:
        """The complementary metadata of a `vical-entry`, as it was given."""


class KeptAnswer(Protocol):
    """What is kept of a request with an Idempotency-Key."""

    @property
    def digest(self) -> str:
        """Of the request, as it was given to the corridor."""

    @property
    def answer(self) -> str | None:
        """The JSON that was answered; None while the request is under way."""


class X509Service(Protocol):
    """An X.509 service. Each method raises RequestError, TokenError, IssuanceDefect or StoreError."""

    def create_request(
        self,
        key_descriptor: KeyDescriptor,
        order: GenericRequestOrder | DocumentSignerRequestOrder,
        caller: Caller,
        /,
    ) -> IssuedRequest:
        """A certification request signed by the described key."""

    def issue_certificate(
        self,
        order: GenericOrder,
        source: SubjectSource,
        issuer_choice: IssuerChoice,
        stored_certificate_id: str | None,
        caller: Caller,
        /,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A certificate of the generic profile; `only_store` is the one attached store it is to be kept in."""

    def issue_iaca(
        self,
        order: IacaOrder,
        key_descriptor: KeyDescriptor,
        stored_certificate_id: str | None,
        vical_metadata: Mapping[str, object] | None,
        caller: Caller,
        /,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A self-signed IACA root certificate."""

    def issue_document_signer(
        self,
        order: DocumentSignerOrder,
        source: SubjectSource,
        iaca_signer: IacaSigner,
        stored_certificate_id: str | None,
        caller: Caller,
        /,
        only_store: str | None = None,
    ) -> IssuedCertificate:
        """A document signer certificate under an IACA."""


class X509Store(Protocol):
    """A certificate store."""

    def list_entries(self, limit: int, offset: int, after: str, /) -> Sequence[StoredCertificate]:
        """Entries in a stable order, from behind the path `after`, which may be empty."""

    def list_entry_paths(self, limit: int, offset: int, after: str, /) -> Sequence[str]:
        """Full paths, in the order of `list_entries`."""

    def add_entry(
        self, entry_id: str | None, order: EntryOrder, vouched_below: str | None, caller: Caller, /
    ) -> StoredCertificate:
        """A new entry, under an id that is made if none is given. At `vouched_below` and below, a CA certificate is
        believed on the caller's word. Raises MalformedRequest, UnsupportedRequest, AlreadyExists."""

    def replace_entry(
        self, entry_id: str, order: EntryOrder, vouched_below: str | None, caller: Caller, /
    ) -> StoredCertificate:
        """The entry with that child id, which now holds this. Raises MalformedRequest, UnsupportedRequest, NotFound."""

    def delete_entry(self, entry_id: str, caller: Caller, /) -> None:
        """Take the entry with that child id away. Raises NotFound."""

    def find_entry(self, entry_id: str, /) -> StoredCertificate:
        """The entry with that child id. Raises NotFound."""

    def find_evidence(self, entry_id: str, /) -> Mapping[str, object]:
        """Evidence of how the certificate of that entry came about. Raises NotFound, StoreError."""


class Kms(Protocol):
    """A KMS: keys on one token."""

    def list_records(self, limit: int, offset: int, /) -> Sequence[KeyRecord]:
        """A page of the keys with the records that were kept last, in a stable order."""

    def check_custody(self, path: str, caller: Caller, /) -> KeyRecord:
        """The key at that full path, examined on its token now. Raises NotFound."""

    def generate_key(self, key_id: str, key_type: str, caller: Caller, /) -> KeyRecord:
        """Have the token make a key. Raises UnsupportedRequest, AlreadyExists."""

    def import_key(
        self, key_id: str, jwk: Mapping[str, object], caller: Caller, /, *, by_caller: bool = False
    ) -> KeyRecord:
        """Have the token take a private JWK. Raises NotAuthorized, MalformedRequest, UnsupportedRequest, PolicyRefusal,
        AlreadyExists."""

    def adopt_key(
        self, key_id: str, caller: Caller, /, *, label: str | None, token_id: bytes | None, by_caller: bool = False
    ) -> KeyRecord:
        """Bind a key that is on the token already. Raises NotFound, PolicyRefusal, NotAuthorized, AlreadyExists."""

    def delete_key(self, key_id: str, caller: Caller, /) -> DeletedKey:
        """Unbind a key, and destroy it if it was made here. Raises NotFound, PolicyRefusal."""


class Session(Protocol):
    """A session that was opened for an account."""

    @property
    def id(self) -> str:
        """What the log calls it."""

    @property
    def token(self) -> str:
        """Its secret."""


class Accounts(Protocol):
    """Who logs in."""

    def log_in(self, email: str, password: str, caller: Caller, /) -> Session:
        """Open a session for who is nobody yet. Raises CredentialRequired."""

    def run(self, work: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Do `work`, a log-in, in the thread that is there for it. Raises EngineBusy when too many wait already."""


class Refusals(Protocol):
    """What is told of refusals."""

    def record(self, refusal: Refusal, /) -> None:
        """A request of a known credential was refused, by a fault of its own. Raises StoreError."""

    def count_fault(self, refusal: Refusal, /) -> Callable[[], None] | None:
        """A request was refused by no fault of its own. What may be called because of it, inside `run`, or None."""

    def count(self, kind: str, caller: Caller, /, *, credential: str = "", call: str = "") -> Callable[[], None] | None:
        """Somebody unknown was refused. What is to be called because of it, inside `run`, or None."""


class Directory(Protocol):
    """Live things by path."""

    @property
    def accounts(self) -> Accounts:
        """Who logs in."""

    @property
    def refusals(self) -> Refusals:
        """What is told of refusals."""

    def find_credential(self, secret: str, /) -> Credential | None:
        """The credential whose secret this is."""

    def find_former_credential(self, secret: str, /) -> str | None:
        """The id of the credential whose secret this was, and is no more."""

    def find_kept_answer(self, scope: str, key: str, /) -> KeptAnswer | None:
        """What is kept of a request with that credential's Idempotency-Key; None if nothing is."""

    def check_host(self, path: str, host: str, /) -> None:
        """Raises NotFound if the organization of `path` has host aliases and `host` (a Host header) is none of them."""

    def find_kms(self, path: str, /) -> Kms:
        """The KMS at `path`. Raises NotFound."""

    def x509_service(self, path: str, /) -> X509Service:
        """The X.509 service at `path`. Raises NotFound."""

    def x509_store(self, path: str, /) -> X509Store:
        """The certificate store at `path`. Raises NotFound."""

    def create_tenant(self, path: str, /, *, name: str | None, by: Caller) -> Resource:
        """Create a tenant. Raises MalformedRequest, NotFound, AlreadyExists."""

    def create_service(
        self,
        path: str,
        /,
        *,
        type: str,
        name: str | None,
        token: str | None,
        dependencies: Sequence[str],
        by: Caller,
        may_see: Callable[[str], bool],
    ) -> Resource:
        """Create a service. Raises MalformedRequest, NotFound, AlreadyExists, NotAuthorized, PolicyRefusal.

        Here and below, what `may_see` is false for is answered like what does not exist.
        """

    def list_resources(
        self, path: str, limit: int, offset: int, may_see: Callable[[str], bool], /
    ) -> Sequence[Resource]:
        """What is at and below a path, in a stable order. Raises NotFound."""

    def delete_resource(self, path: str, may_see: Callable[[str], bool], caller: Caller, /) -> None:
        """Delete what was created. Raises NotFound, NotAuthorized, PolicyRefusal."""

    def add_dependency(
        self, service_path: str, dependency: str, may_see: Callable[[str], bool], caller: Caller, /
    ) -> None:
        """Attach a KMS or store. Raises NotFound, AlreadyExists, NotAuthorized, PolicyRefusal."""

    def remove_dependency(
        self, service_path: str, dependency: str, may_see: Callable[[str], bool], caller: Caller, /
    ) -> None:
        """Detach a KMS or store. Raises NotFound, NotAuthorized."""

    def list_dependencies(self, service_path: str, may_see: Callable[[str], bool], /) -> Sequence[str]:
        """What is attached to an X.509 service, in a stable order. Raises NotFound."""

    def states(self) -> Mapping[str, str]:
        """What each token and the database are doing, in words; `ready` when all is well."""

    def run(self, work: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Do `work` in a thread of the engine's own. Raises TokenBusy when too much waits already."""
