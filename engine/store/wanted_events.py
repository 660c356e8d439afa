"""Which events of the audit trail somebody wants to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, or_, select

from engine.errors import ConfigError
from engine.store.certificate_names import load_certificate_name
from engine.store.chain import KINDS, sha256_hex
from engine.store.raw_values import load_octets, raw
from engine.store.schema import certificates, events

_CERTIFICATE = select(certificates.c.serial_number, raw(certificates.c.issuer).label("issuer")).where(
    certificates.c.sha256 == bindparam("sha256")
)


@dataclass(frozen=True, slots=True)
class WantedEvents:
    """All conditions hold for what is wanted; what is None or empty is no condition."""

    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    signing_key: str | None = None
    """The path of a key, or `jwk:` and the SHA-256 of its SubjectPublicKeyInfo."""
    certificate: str | None = None
    """A serial number in hex, whoever has issued it, or a certificate's SHA-256 in hex."""
    actor: str | None = None
    kinds: Sequence[str] = ()

    def render(self) -> dict[str, object]:
        """The conditions there are, as JSON has it; empty if every event is wanted."""
        conditions: dict[str, object] = {
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "key": self.signing_key,
            "certificate": self.certificate,
            "actor": self.actor,
            "kind": list(self.kinds) or None,
        }
        return {name: value for name, value in conditions.items() if value is not None}

    def conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        """For a SELECT of events. Raises ConfigError for a condition that nothing can meet."""
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(events.c.recorded_at >= self.since)
        if self.until is not None:
            found.append(events.c.recorded_at < self.until)
        if self.signing_key is not None:
            found.append(events.c.signing_key == self.signing_key)
        if self.certificate is not None:
            found += _of_certificate(connection, self.certificate)
        if self.actor is not None:
            found.append(events.c.actor == self.actor)
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ConfigError(f"There is no kind of event {unknown[0]!r}; expected one of {', '.join(KINDS)}.")
        if self.kinds:
            found.append(events.c.kind.in_(list(self.kinds)))
        return found


def _of_certificate(connection: Connection, text: str) -> list[ColumnElement[bool]]:
    serial_number, sha256 = load_certificate_name(text)
    if serial_number is not None:
        return [events.c.serial_number == serial_number]
    names_it = events.c.details.contains(f'"certificateSha256":"{sha256}"')
    row = connection.execute(_CERTIFICATE, {"sha256": sha256}).first()
    if row is None:
        return [names_it]
    # Before it was signed, it was known by its issuer and its serial number.
    is_its = events.c.details.contains(f'"issuerSha256":"{sha256_hex(load_octets(row.issuer))}"')
    return [events.c.serial_number == row.serial_number, or_(names_it, is_its)]
