"""On which grounds a certificate is signed: written down before it is, and bound to the audit trail by their digest.

The grounds are canonical JSON (members sorted, no white space, UTF-8, no escape that JSON does not ask for) of

    engine             version of the engine
    issuingKeySha256   of the statement about the issuing key, which is kept once for all that it signs
    lint               findings that are no errors, how many rules were applied, and rulesSha256: which ones
    policySha256       of the policy in force, as `engine-started` tells it
    profile            the profile the certificate was drafted and linted by
    proofOfPossession  how the subject's key was proven
    requestSha256      of the body of the order

and proofOfPossession is one of

    method "certification-request"  requestSha256, signatureAlgorithm, spkiSha256, result "verified", and request
                                    (base64), unless it holds a challengePassword: then withheld says so
    method "key-on-token"           path and spkiSha256 of a registered key, which was proven when it was registered
    method "own-signature"          spkiSha256: the certificate is self-signed
    method "none"                   spkiSha256: a public key that somebody presented, and nobody has proven

The statement about the issuing key is canonical JSON of custodySha256 (null for a private JWK, which nobody has in
custody), path, spki (base64), spkiSha256 and token: what the token and its library say of themselves.

This is on the way of every certificate, so what is the same for many is encoded once.
"""

import json
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from engine.profiles.lint import LintReport
from engine.x509.request import CertificationRequest
from engine.x509.spki import PublicKey

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class TokenIdentity(Protocol):
    """What a token and its library say of themselves; equal and hashed by its members, which are text."""

    def __hash__(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def serial(self) -> str: ...
    @property
    def manufacturer(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def hardware(self) -> str: ...
    @property
    def firmware(self) -> str: ...
    @property
    def library_manufacturer(self) -> str: ...
    @property
    def library_description(self) -> str: ...
    @property
    def library_version(self) -> str: ...


class IssuingKey(Protocol):
    """The key that is about to sign."""

    @property
    def public_key(self) -> PublicKey:
        """The public half, as it was pinned."""

    @property
    def name(self) -> str:
        """The key's full path, or `jwk:` and the SHA-256 of its SubjectPublicKeyInfo."""

    @property
    def custody_sha256(self) -> str | None:
        """SHA-256 of its custody record, lower-case hex; None for a key that has none."""

    def token_identity(self) -> TokenIdentity:
        """The token it signs on. Raises TokenError while that is away."""


def prove_by_request(request: CertificationRequest) -> str:
    """For a request whose signature has verified. A challengePassword is a secret, and is neither kept nor shown."""
    shown = "" if request.has_challenge else f'"request":"{b64encode(request.der).decode()}",'
    withheld = ',"withheld":"challengePassword"' if request.has_challenge else ""
    return (
        f'{{"method":"certification-request",{shown}"requestSha256":"{sha256(request.der).hexdigest()}",'
        f'"result":"verified","signatureAlgorithm":"{request.algorithm.name}",'
        f'"spkiSha256":"{request.public_key.sha256}"{withheld}}}'
    )


def prove_by_registration(path: str, public_key: PublicKey) -> str:
    """For a key of a KMS, which has signed when it was registered."""
    return f'{{"method":"key-on-token","path":{_encode(path)},"spkiSha256":"{public_key.sha256}"}}'


def prove_by_own_signature(public_key: PublicKey) -> str:
    """For a certificate that its own key signs."""
    return f'{{"method":"own-signature","spkiSha256":"{public_key.sha256}"}}'


def prove_nothing(public_key: PublicKey) -> str:
    """For a public key alone."""
    return f'{{"method":"none","spkiSha256":"{public_key.sha256}"}}'


def render_grounds(
    *,
    engine: str,
    policy_sha256: str,
    profile: str,
    request_sha256: str,
    proof: str,
    lint: LintReport,
    issuing_key: IssuingKey,
) -> tuple[str, str]:
    """The statement about the issuing key, and the grounds.

    `proof` is what one of the functions above gives. Raises TokenError while the token is away.
    """
    statement, statement_sha256 = _state_key(
        issuing_key.name,
        issuing_key.public_key.spki,
        issuing_key.public_key.sha256,
        issuing_key.custody_sha256,
        issuing_key.token_identity(),
    )
    return statement, (
        f'{{"engine":{_encode(engine)},"issuingKeySha256":"{statement_sha256}","lint":{_render_lint(lint)},'
        f'"policySha256":"{policy_sha256}","profile":"{profile}","proofOfPossession":{proof},'
        f'"requestSha256":"{request_sha256}"}}'
    )


@lru_cache(maxsize=256)
def _state_key(
    name: str, spki: bytes, spki_sha256: str, custody_sha256: str | None, token: TokenIdentity
) -> tuple[str, str]:
    """The statement and its SHA-256."""
    statement = _encode(
        {
            "path": name,
            "spki": b64encode(spki).decode(),
            "spkiSha256": spki_sha256,
            "custodySha256": custody_sha256,
            "token": {
                "label": token.label,
                "serial": token.serial,
                "manufacturer": token.manufacturer,
                "model": token.model,
                "hardware": token.hardware,
                "firmware": token.firmware,
                "libraryManufacturer": token.library_manufacturer,
                "libraryDescription": token.library_description,
                "libraryVersion": token.library_version,
            },
        }
    )
    return statement, sha256(statement.encode()).hexdigest()


@lru_cache(maxsize=256)
def _render_lint(report: LintReport) -> str:
    findings = [
        {"severity": one.severity, "code": one.code, "message": one.message, "clause": one.clause}
        for one in report.findings
    ]
    return _encode({"findings": findings, "rules": report.rules, "rulesSha256": report.rules_sha256})
