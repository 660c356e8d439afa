"""What the routes need from below: services found by path, credentials, and threads to work in.

The directory satisfies these; tests of this room satisfy them with less. Every method but `run` is synchronous and
is called inside `run`, so none of them may hold the event loop.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from engine.directory import IacaSigner, IssuerChoice, KeyDescriptor, KeyRecord, Permission, SubjectSource
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
    """A known API key."""

    @property
    def id(self) -> str:
        """The name of the credential in the records; not secret."""

    def may_use(self, path: str, /) -> bool:
        """Whether `path` lies inside the credential's scope."""

    def may(self, permission: Permission, /) -> bool:
        """Whether one of its roles has the permission."""


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
    ) -> IssuedCertificate:
        """A certificate of the generic profile."""

    def issue_iaca(
        self,
        order: IacaOrder,
        key_descriptor: KeyDescriptor,
        stored_certificate_id: str | None,
        vical_metadata: Mapping[str, object] | None,
        caller: Caller,
        /,
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
    ) -> IssuedCertificate:
        """A document signer certificate under an IACA."""


class X509Store(Protocol):
    """A certificate store, read only."""

    def list_entries(self, limit: int, offset: int, /) -> Sequence[StoredCertificate]:
        """Entries in a stable order."""

    def list_entry_paths(self, limit: int, offset: int, /) -> Sequence[str]:
        """Full paths, in the order of `list_entries`."""

    def find_entry(self, entry_id: str, /) -> StoredCertificate:
        """The entry with that child id. Raises NotFound."""


class Kms(Protocol):
    """A KMS: keys on one token."""

    def list_records(self) -> Sequence[KeyRecord]:
        """Every key with the record that was kept last, in a stable order."""

    def check_custody(self, path: str, /) -> KeyRecord:
        """The key at that full path, examined on its token now. Raises NotFound."""

    def adopt_key(
        self, key_id: str, /, *, label: str | None, token_id: bytes | None, by_caller: bool = False
    ) -> KeyRecord:
        """Bind a key that is on the token already. Raises NotFound, PolicyRefusal, NotAuthorized, AlreadyExists."""


class Directory(Protocol):
    """Live things by path."""

    def find_credential(self, secret: str, /) -> Credential | None:
        """The credential whose secret this is."""

    def check_host(self, path: str, host: str, /) -> None:
        """Raises NotFound if the organization of `path` has host aliases and `host` (a Host header) is none of them."""

    def find_kms(self, path: str, /) -> Kms:
        """The KMS at `path`. Raises NotFound."""

    def x509_service(self, path: str, /) -> X509Service:
        """The X.509 service at `path`. Raises NotFound."""

    def x509_store(self, path: str, /) -> X509Store:
        """The certificate store at `path`. Raises NotFound."""

    def states(self) -> Mapping[str, str]:
        """What each token and the database are doing, in words; `ready` when all is well."""

    def run(self, work: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Do `work` in a thread of the engine's own. Raises TokenBusy when too much waits already."""
