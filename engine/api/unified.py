"""`PUT` and `POST /v1/{service}.{certificateId}/x509-service-api/certificates`: one call for every profile.

Another door to the same corridor: what it says is turned into the order that the call of its profile would have
brought. The order of attributes in `subjectDn` does not matter, since each profile has its own. A member that a
profile fixes may be there if it says what the profile says; it is never ignored. Neither method replaces a certificate:
an id that is taken is 409.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from engine.api.operations import Call, JsonBody, Operation
from engine.api.ports import Directory
from engine.api.render import render_unified
from engine.api.schema.unified import (
    DOCUMENT_SIGNER_PROFILE,
    IACA_PROFILE,
    GeneralNameMembers,
    IssuedUnified,
    IssueUnified,
)
from engine.directory import (
    CaSigned,
    CsrSource,
    HostedKey,
    IacaAsIssuer,
    IssuerChoice,
    KeySource,
    Permission,
    SelfSigned,
    SubjectSource,
)
from engine.errors import MalformedRequest, NotFound
from engine.issuance import IssuedCertificate
from engine.profiles.mdoc import DOCUMENT_SIGNER_PURPOSE
from engine.profiles.orders import (
    AlternativeNames,
    DocumentSignerOrder,
    GenericOrder,
    IacaOrder,
    IssuerAlternativeNameOrder,
    SubjectName,
)
from engine.x509.distinguished_name import load_distinguished_name

_ISSUER_CERTIFICATE = "issuerCertificateRef or issuerCertificatePem"
_TITLES: Mapping[str, str] = {
    "country": "C",
    "state_or_province_name": "ST",
    "locality_name": "L",
    "organization_name": "O",
    "organizational_unit_name": "OU",
    "common_name": "CN",
}
_IACA_SUBJECT = ("country", "common_name", "state_or_province_name", "organization_name")
_DOCUMENT_SIGNER_SUBJECT = (*_IACA_SUBJECT, "locality_name")

_FIXED: Mapping[str, Mapping[str, object]] = {
    IACA_PROFILE: {
        "self_signed": True,
        "basic_constraints_ca": True,
        "key_usage": {"keyCertSign", "cRLSign"},
        "extended_key_usage_oids": set(),
        "subject_alternative_names": set(),
    },
    DOCUMENT_SIGNER_PROFILE: {
        "self_signed": False,
        "basic_constraints_ca": False,
        "key_usage": {"digitalSignature"},
        "extended_key_usage_oids": {DOCUMENT_SIGNER_PURPOSE},
        "subject_alternative_names": set(),
    },
}
"""What each profile says by itself; lists as sets."""


def unified_operations(directory: Directory) -> list[Operation[Any]]:
    """The call by either method."""

    def issue(call: Call[IssueUnified]) -> IssuedCertificate:
        service_path, _, certificate_id = call.target.rpartition(".")
        try:
            service = directory.x509_service(service_path)
        except NotFound:
            raise NotFound(f"There is no X.509 service that {call.target} would be a certificate of.") from None
        members = call.members
        _check_fixed(members)
        if members.certificate_profile == IACA_PROFILE:
            return service.issue_iaca(
                _iaca_order(members),
                _own_key(members).key,
                certificate_id,
                _vical_metadata(members),
                call.caller,
                only_store=members.store_ref,
            )
        if members.certificate_profile == DOCUMENT_SIGNER_PROFILE:
            return service.issue_document_signer(
                _document_signer_order(members),
                _subject_source(members),
                IacaAsIssuer(_ca_signed(members), _alternative_name_of_issuer(members)),
                certificate_id,
                call.caller,
                only_store=members.store_ref,
            )
        source: SubjectSource = _own_key(members) if members.self_signed else _subject_source(members)
        issuer: IssuerChoice = SelfSigned() if members.self_signed else _ca_signed(members)
        return service.issue_certificate(
            _generic_order(members), source, issuer, certificate_id, call.caller, only_store=members.store_ref
        )

    return [
        Operation(
            method,
            "/v1/{target}/x509-service-api/certificates",
            "Issue a certificate of any profile, kept under the id of the target.",
            Permission.ISSUE,
            issue,
            JsonBody[IssueUnified](IssueUnified),
            response=IssuedUnified,
            problems=frozenset({409, 422}),
            issues=True,
            render=render_unified,
            signing_key=lambda members: members.issuer_key_ref or members.subject_key_ref,
        )
        for method in ("PUT", "POST")
    ]


def _check_fixed(members: IssueUnified) -> None:
    """Raises MalformedRequest for what the profile has no room for, or says otherwise."""
    profile = members.certificate_profile
    if profile is None and members.issuer_alternative_names:
        raise MalformedRequest("Expected issuerAlternativeNames only with a certificateProfile, found them without.")
    if profile != IACA_PROFILE and members.metadata is not None:
        raise MalformedRequest(f"Expected metadata only with the certificateProfile {IACA_PROFILE}, found it without.")
    for name, fixed in _FIXED.get(profile or "", {}).items():
        value = getattr(members, name)
        found = set(value) if isinstance(value, tuple) else value
        if found is not None and found != fixed:
            raise MalformedRequest(
                f"Expected no {to_camel(name)} but that of the certificateProfile {profile}, found another."
            )


def _own_key(members: IssueUnified) -> KeySource:
    """The key that is to sign its own certificate. Raises MalformedRequest."""
    if members.csr_pem is not None:
        raise MalformedRequest("Self-signed certificates cannot use CSR input.")
    if members.issuer_certificate_ref is not None or members.issuer_certificate_pem is not None:
        raise MalformedRequest(f"Expected no {_ISSUER_CERTIFICATE} for a self-signed certificate, found one.")
    if members.subject_key_ref is None:
        raise MalformedRequest("Expected subjectKeyRef for a self-signed certificate, found none.")
    if members.issuer_key_ref not in (None, members.subject_key_ref):
        raise MalformedRequest(
            "Expected no issuerKeyRef but the subjectKeyRef for a self-signed certificate, found another."
        )
    return KeySource(HostedKey(members.subject_key_ref))


def _subject_source(members: IssueUnified) -> SubjectSource:
    """Raises MalformedRequest unless exactly one is given."""
    if members.subject_key_ref is not None and members.csr_pem is None:
        return KeySource(HostedKey(members.subject_key_ref))
    if members.csr_pem is not None and members.subject_key_ref is None:
        return CsrSource(members.csr_pem)
    found = "neither" if members.csr_pem is None else "both"
    raise MalformedRequest(f"Expected exactly one of subjectKeyRef and csrPem, found {found}.")


def _ca_signed(members: IssueUnified) -> CaSigned:
    if members.issuer_key_ref is None:
        raise MalformedRequest("Expected issuerKeyRef, or selfSigned true in a profile that allows it, found neither.")
    if members.issuer_certificate_ref is not None and members.issuer_certificate_pem is not None:
        raise MalformedRequest(f"Expected {_ISSUER_CERTIFICATE}, found both.")
    return CaSigned(
        HostedKey(members.issuer_key_ref),
        members.issuer_certificate_pem,
        members.issuer_certificate_ref,
        _ISSUER_CERTIFICATE,
    )


def _generic_order(members: IssueUnified) -> GenericOrder:
    return GenericOrder(
        subject_name=SubjectName(**_subject(members, tuple(_TITLES), ("common_name",))),
        key_usage=members.key_usage or (),
        extended_key_usage=members.extended_key_usage_oids or (),
        subject_alternative_names=_subject_alternative_names(members.subject_alternative_names or ()),
        not_before=members.valid_from,
        not_after=members.valid_to,
        is_certificate_authority=bool(members.basic_constraints_ca),
        crl_distribution_point_uri=members.crl_distribution_point_uri,
    )


def _iaca_order(members: IssueUnified) -> IacaOrder:
    alternative_name = _alternative_name_of_issuer(members)
    if alternative_name is None:
        raise MalformedRequest(
            f"Expected issuerAlternativeNames with the certificateProfile {IACA_PROFILE}, found none."
        )
    return IacaOrder(
        **_subject(members, _IACA_SUBJECT, ("country", "common_name")),
        issuer_alternative_name=alternative_name,
        not_before=members.valid_from,
        not_after=members.valid_to,
        crl_distribution_point_uri=members.crl_distribution_point_uri,
    )


def _document_signer_order(members: IssueUnified) -> DocumentSignerOrder:
    if members.crl_distribution_point_uri is None:
        raise MalformedRequest(
            f"Expected crlDistributionPointUri with the certificateProfile {DOCUMENT_SIGNER_PROFILE}, found none."
        )
    return DocumentSignerOrder(
        **_subject(members, _DOCUMENT_SIGNER_SUBJECT, ("country", "common_name")),
        crl_distribution_point_uri=members.crl_distribution_point_uri,
        not_before=members.valid_from,
        not_after=members.valid_to,
    )


def _subject(members: IssueUnified, allowed: Iterable[str], required: Iterable[str]) -> dict[str, str]:
    """The attributes of `subjectDn`. Raises MalformedRequest."""
    if members.subject_dn is None:
        raise MalformedRequest(
            "Expected subjectDn, since nothing but its key is taken from a certification request, found none."
        )
    attributes = dict(load_distinguished_name(members.subject_dn).attributes)
    profile = members.certificate_profile or "generic"
    for kind in attributes:
        if kind not in allowed:
            raise MalformedRequest(f"Expected no {_TITLES[kind]} in the subjectDn of the profile {profile}, found one.")
    for kind in required:
        if kind not in attributes:
            raise MalformedRequest(f"Expected {_TITLES[kind]} in the subjectDn of the profile {profile}, found none.")
    return attributes


def _subject_alternative_names(names: Iterable[GeneralNameMembers]) -> AlternativeNames:
    by_type: dict[str, list[str]] = {}
    for name in names:
        by_type.setdefault(name.type, []).append(name.name)
    return AlternativeNames(
        dns_names=tuple(by_type.get("dnsName", ())),
        uris=tuple(by_type.get("uri", ())),
        emails=tuple(by_type.get("email", ())),
        ip_addresses=tuple(by_type.get("ipAddress", ())),
    )


def _alternative_name_of_issuer(members: IssueUnified) -> IssuerAlternativeNameOrder | None:
    """How to reach an IACA: an email, a uri or both, and no more. Raises MalformedRequest."""
    names = members.issuer_alternative_names
    if not names:
        return None
    found = {name.type: name.name for name in names}
    if not found.keys() <= {"email", "uri"} or len(found) != len(names):
        raise MalformedRequest("Expected one email, one uri or both in issuerAlternativeNames, found others.")
    return IssuerAlternativeNameOrder(email=found.get("email"), uri=found.get("uri"))


def _vical_metadata(members: IssueUnified) -> Mapping[str, object] | None:
    if members.metadata is None or not members.metadata.vical_doc_type:
        return None
    return {"docType": list(members.metadata.vical_doc_type)}
