"""Under which key a stored certificate was signed, and by which CA certificates."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature

from engine.errors import RequestError
from engine.profiles.issuer import is_self_signed
from engine.store import StoredRecords, ToldEvent, load_octets, load_time
from engine.sweep.findings import shown
from engine.x509.certificate import Certificate, check_signed_by, load_certificate
from engine.x509.spki import PublicKey, load_spki

_REMEMBERED = 256
_JWK = "jwk:"


@dataclass(frozen=True, slots=True)
class Authority:
    """A stored CA certificate."""

    certificate: Certificate
    is_issued: bool
    """Here, and not by just anybody who has put its name beside its key."""

    @property
    def is_believed(self) -> bool:
        """Whether its name is that of who has the key."""
        return self.is_issued or is_self_signed(self.certificate)


@dataclass(frozen=True, slots=True)
class IssuedUnder:
    """What was found of the issuer of a certificate."""

    key: PublicKey | None
    """The one that the signature verifies under."""
    is_known: bool
    """Whether there is a key that it must verify under."""
    is_self_signed: bool
    authorities: Sequence[Authority]
    """With the issuer's name and the key."""


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """What was kept about an issuing key."""

    key: PublicKey | None
    fault: str
    """What is wrong with it or with the custody record that it names; empty if nothing is."""


@dataclass(slots=True)
class Authorities:
    """Finds issuers in the records. One issuer signs many, so what was read is remembered."""

    records: StoredRecords
    _keys: dict[str, tuple[PublicKey, datetime] | None] = field(default_factory=dict)
    _named: dict[bytes, Sequence[Authority]] = field(default_factory=dict)
    _statements: dict[str, KeyStatement] = field(default_factory=dict)

    def find(self, certificate: Certificate, intent: Any, told: Sequence[ToldEvent]) -> IssuedUnder:
        """Under which key a certificate was issued that has the columns `intents_...` of its intent, of which these
        events tell. Raises StoreError.

        That is the key at the path that signed, if it has stood for it since before. If another one is there by now, or
        none, then the key that the grounds of the certificate have, if an event names these; of what was recorded
        without grounds, that of a stored CA certificate with the issuer's name and the certificate's
        AuthorityKeyIdentifier. Of a JWK the digest is known.
        """
        under = self._find(certificate, intent, told)
        if under.key is not None and (under.is_self_signed or under.authorities):
            return under
        # What is remembered may be from before this certificate.
        self._keys.pop(str(intent.intents_signing_key), None)
        self._named.pop(certificate.issuer, None)
        return self._find(certificate, intent, told)

    def _find(self, certificate: Certificate, intent: Any, told: Sequence[ToldEvent]) -> IssuedUnder:
        named = self._authorities(certificate.issuer)
        candidates, is_known = self._candidates(certificate, intent, told, named)
        for key in candidates:
            if _is_signed_by(certificate, key):
                is_own = certificate.subject == certificate.issuer and key == certificate.public_key
                its = [authority for authority in named if authority.certificate.public_key == key]
                return IssuedUnder(key, is_known=True, is_self_signed=is_own, authorities=its)
        return IssuedUnder(None, is_known=is_known, is_self_signed=False, authorities=())

    def _candidates(
        self, certificate: Certificate, intent: Any, told: Sequence[ToldEvent], named: Sequence[Authority]
    ) -> tuple[Sequence[PublicKey], bool]:
        """The keys to try, and whether one of them must be the one."""
        name = str(intent.intents_signing_key)
        stated = self.find_statement(intent) if _are_grounds_told(intent, told) else None
        in_grounds = None if stated is None else stated.key
        if name.startswith(_JWK):
            digest = name.removeprefix(_JWK)
            keys = (in_grounds, certificate.public_key, self._key_of_certificate(digest))
            of_jwk = [key for key in keys if key is not None and key.sha256 == digest]
            return of_jwk[:1], bool(of_jwk)
        at_path, recorded_at = self._key_at(name), load_time(intent.intents_recorded_at)
        if at_path is not None and recorded_at is not None and at_path[1] <= recorded_at:
            return [at_path[0]], True
        if in_grounds is not None:
            return [in_grounds], True
        wanted = certificate.authority_key_identifier
        signers = [one for one in named if wanted in (None, one.certificate.subject_key_identifier)]
        found = [one.certificate.public_key for one in signers]
        is_own = certificate.subject == certificate.issuer and wanted in (None, certificate.subject_key_identifier)
        if is_own:
            found.append(certificate.public_key)
        if at_path is not None:
            found.append(at_path[0])
        return found, is_own or any(one.is_issued for one in signers)

    def find_statement(self, intent: Any) -> KeyStatement | None:
        """The statement about the issuing key that the grounds of an intent name; None if they name none."""
        try:
            digest = json.loads(str(intent.intents_grounds))["issuingKeySha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None  # there are none, or they are not as they were written, which is another check
        if not isinstance(digest, str):
            return None
        if digest not in self._statements:
            _make_room(self._statements)
            self._statements[digest] = self._load_statement(digest)
        return self._statements[digest]

    def _load_statement(self, digest: str) -> KeyStatement:
        stated, what = self._read_kept(digest, "the statement about its issuing key")
        if stated is None:
            return KeyStatement(None, what)
        try:
            custody_sha256, key = stated["custodySha256"], load_spki(base64.b64decode(stated["spki"]))
        except (ValueError, TypeError, KeyError, RequestError):
            return KeyStatement(None, "the statement about its issuing key is not one")
        if custody_sha256 is not None:
            record, what = self._read_kept(str(custody_sha256), "the custody record of its issuing key")
            # Of a key that was registered before there was a trail, none was kept, and no event tells.
            if record is None and self.records.is_custody_told(str(stated.get("path")), str(custody_sha256)):
                return KeyStatement(key, what)
        return KeyStatement(key, "")

    def _read_kept(self, digest: str, what: str) -> tuple[Mapping[str, Any] | None, str]:
        """What was kept with this SHA-256; or None and what is wrong with it."""
        text = self.records.find_statement(digest)
        if text is None:
            return None, f"{what}, SHA-256 {shown(digest)}, is not there"
        try:
            members = json.loads(text) if sha256(text.encode()).hexdigest() == digest else None
        except (ValueError, RecursionError):
            members = None
        return (members, "") if isinstance(members, dict) else (None, f"{what}, SHA-256 {shown(digest)}, was changed")

    def _key_at(self, path: str) -> tuple[PublicKey, datetime] | None:
        """The key that the path stands for now, and since when."""
        if path not in self._keys:
            _make_room(self._keys)
            self._keys[path] = self._load_key(path)
        return self._keys[path]

    def _load_key(self, path: str) -> tuple[PublicKey, datetime] | None:
        row = self.records.find_key(path)
        bound_at = None if row is None else load_time(row.keys_created_at)
        if row is None or bound_at is None:
            return None
        try:
            return load_spki(load_octets(row.keys_spki) or b""), bound_at
        except RequestError:
            return None

    def _key_of_certificate(self, spki_sha256: str) -> PublicKey | None:
        found = _load(self.records.find_certificate_of(spki_sha256))
        return None if found is None else found.public_key

    def _authorities(self, subject: bytes) -> Sequence[Authority]:
        if subject not in self._named:
            _make_room(self._named)
            found = [(_load(row.certificates_der), row) for row in self.records.find_authorities(subject)]
            self._named[subject] = [
                Authority(one, row.certificates_intent_id is not None)
                for one, row in found
                if one is not None and one.is_ca
            ]
        return self._named[subject]


def _are_grounds_told(intent: Any, told: Sequence[ToldEvent]) -> bool:
    """Whether they are not just what somebody has put there."""
    digest = sha256(str(intent.intents_grounds).encode()).hexdigest()
    return any(event.details.get("groundsSha256") == digest for event in told)


def _load(der: object) -> Certificate | None:
    """None for what cannot be read, which is said of its own row."""
    try:
        return load_certificate(load_octets(der) or b"")
    except RequestError:
        return None


def _is_signed_by(certificate: Certificate, key: PublicKey) -> bool:
    try:
        check_signed_by(certificate.der, key)
    except (InvalidSignature, RequestError):
        return False
    return True


def _make_room(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= _REMEMBERED:
        remembered.clear()
