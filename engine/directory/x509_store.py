"""A certificate store service: read access to what was stored."""

from dataclasses import dataclass, field

from engine.store import Store, StoredCertificate


@dataclass(frozen=True, slots=True)
class X509Store:
    """Certificates under `path`."""

    path: str
    store: Store = field(repr=False)

    def find_entry(self, entry_id: str) -> StoredCertificate:
        """The certificate with this id. NotFound otherwise."""
        return self.store.find_entry(f"{self.path}.{entry_id}")

    def list_entries(self, limit: int, offset: int) -> tuple[StoredCertificate, ...]:
        """Certificates in the order of their paths."""
        return tuple(self.store.list_entries(self.path, limit, offset))

    def list_entry_paths(self, limit: int, offset: int) -> tuple[str, ...]:
        """Full paths in order."""
        return tuple(self.store.list_entry_paths(self.path, limit, offset))
