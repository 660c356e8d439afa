"""What goes out as JSON. Absent values and empty lists are left out, never null.

`certificateData` says what the certificate says, read from the draft it was built from: names and times as they were
encoded, defaults included. `serialNumber` is lower-case hex, forty digits, the octets of the INTEGER: a decimal of 158
bits does not survive the number type of many JSON readers.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic.alias_generators import to_camel
from starlette.responses import Response

from engine.api.fields import KEY_USAGES, capitalized
from engine.api.ports import StoredCertificate
from engine.directory import DeletedKey, KeyRecord
from engine.issuance import IssuedCertificate, IssuedRequest
from engine.profiles.orders import AlternativeNames
from engine.x509.certificate import CertificateDraft
from engine.x509.extensions import (
    BasicConstraints,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    GeneralName,
    IssuerAlternativeName,
    KeyUsage,
    SubjectAlternativeName,
)
from engine.x509.names import Name
from engine.x509.pem import render_pem
from engine.x509.spki import render_public_jwk

Kind = TypeVar("Kind", bound=Extension)

_ATTRIBUTES: Mapping[str, str] = {
    "common_name": "commonName",
    "country": "country",
    "organization_name": "organizationName",
    "state_or_province_name": "stateOrProvinceName",
    "locality_name": "localityName",
    "organizational_unit_name": "organizationalUnitName",
    "serial_number": "serialNumber",
    "email_address": "emailAddress",
}
"""In the order of the vendor's page. An attribute that is not here is named by its dotted object identifier."""

_ALTERNATIVE_NAMES: Mapping[str, str] = {
    "dNSName": "dnsNames",
    "uniformResourceIdentifier": "uris",
    "rfc822Name": "emails",
    "iPAddress": "ipAddresses",
}


def json_text(value: object) -> str:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_response(status: int, value: object) -> Response:
    """The answer whose body is this JSON value, in UTF-8."""
    return Response(json_text(value).encode("utf-8"), status, media_type="application/json")


def render_request(issued: IssuedRequest) -> dict[str, object]:
    """`csrPEM` and `csrData`."""
    data: dict[str, object] = {"subjectName": _name(issued.subject)}
    names = _alternative_names(issued.alternative_names)
    if names:
        data["subjectAlternativeNames"] = names
    data["publicKeyJwk"] = render_public_jwk(issued.public_key)
    return {"csrPEM": render_pem("CERTIFICATE REQUEST", issued.der), "csrData": data}


def render_certificate(issued: IssuedCertificate) -> dict[str, object]:
    """A certificate of the generic profile."""
    draft = issued.draft
    data: dict[str, object] = {"subjectName": _name(draft.subject)}
    usage = _find(draft, KeyUsage)
    if usage is not None and usage.uses:
        data["keyUsage"] = [capitalized(use) for use in KEY_USAGES if use in usage.uses]
    purposes = _find(draft, ExtendedKeyUsage)
    if purposes is not None and purposes.purposes:
        data["extendedKeyUsageOids"] = list(purposes.purposes)
    names = _find(draft, SubjectAlternativeName)
    if names is not None and names.names:
        data["subjectAlternativeNames"] = _general_names(names.names)
    constraints = _find(draft, BasicConstraints)
    data["isCertificateAuthority"] = constraints is not None and constraints.ca
    if constraints is not None and constraints.path_length is not None:
        data["pathLengthConstraint"] = constraints.path_length
    return _issued(issued, {**data, **_distribution_point(draft)})


def render_iaca(issued: IssuedCertificate) -> dict[str, object]:
    """An IACA root certificate."""
    draft = issued.draft
    names = _find(draft, IssuerAlternativeName)
    reach = {name.kind: name.value for name in names.names} if names is not None else {}
    conf = _present({"email": reach.get("rfc822Name"), "uri": reach.get("uniformResourceIdentifier")})
    data = {**_name(draft.subject), "issuerAlternativeNameConf": conf, **_distribution_point(draft)}
    return _issued(issued, data)


def render_document_signer(issued: IssuedCertificate) -> dict[str, object]:
    """A document signer certificate."""
    return _issued(issued, {**_name(issued.draft.subject), **_distribution_point(issued.draft)})


def render_unified(issued: IssuedCertificate) -> dict[str, object]:
    """A certificate of any profile, as newer clients read it. Mind `certificatePem`."""
    answer = render_certificate(issued)
    certificate: dict[str, object] = {
        "certificatePem": answer["certificatePEM"],
        "certificateData": answer["certificateData"],
    }
    if issued.entry_paths:
        certificate = {"_id": issued.entry_paths[0], **certificate, "storedCertificateIds": list(issued.entry_paths)}
    return {"certificate": certificate}


def render_entry(entry: StoredCertificate) -> dict[str, object]:
    """An entry of a certificate store. Mind `pem`, which is `certificatePEM` where certificates are issued."""
    data: dict[str, object] = {"type": entry.type, "pem": render_pem("CERTIFICATE", entry.der)}
    if entry.metadata is not None:
        data["complementaryMetadata"] = dict(entry.metadata)
    return {"_id": entry.path, "data": data}


def render_key(record: KeyRecord) -> dict[str, object]:
    """A key of a KMS: its public half and its custody record, whose members have the names of PKCS#11 attributes."""
    custody = {
        **record.custody,
        "origin": record.origin,
        "spki_sha256": record.public_key.sha256,
        "checked_at": _instant(record.checked_at),
        "shortfalls": list(record.shortfalls),
    }
    return {
        "_id": record.path,
        "type": "key",
        "key": {"type": "jwk", "jwk": render_public_jwk(record.public_key)},
        "custody": _camel(custody),
    }


def render_deleted_key(deleted: DeletedKey) -> dict[str, object]:
    """What became of a key."""
    message = (
        "The key was destroyed on its token."
        if deleted.destroyed
        else "The path stands for no key any more; the key stays on its token, since it was not made from here, or not "
        "for this path alone."
    )
    return {"_id": deleted.path, "destroyed": deleted.destroyed, "message": message}


def _camel(members: Mapping[str, object]) -> dict[str, object]:
    """Names as the API writes them; false stays, null and empty lists go."""
    return {
        to_camel(name): _camel(value) if isinstance(value, Mapping) else value
        for name, value in members.items()
        if value is not None and value != []
    }


def _issued(issued: IssuedCertificate, data: Mapping[str, object]) -> dict[str, object]:
    draft = issued.draft
    answer: dict[str, object] = {
        "certificatePEM": render_pem("CERTIFICATE", issued.der),
        "certificateData": {
            **data,
            "notBefore": _instant(draft.not_before),
            "notAfter": _instant(draft.not_after),
            "serialNumber": f"{draft.serial_number:040x}",
            "issuerName": _name(issued.issuer_name),
        },
    }
    if issued.entry_paths:
        answer["storedCertificateIds"] = list(issued.entry_paths)
    return answer


def _name(name: Name) -> dict[str, object]:
    """Attributes as members; a type that occurs more than once, which only a foreign issuer's can, as a list."""
    values: dict[str, list[str]] = {}
    for kind, value in name.attributes:
        values.setdefault(kind, []).append(value)
    order = [*(kind for kind in _ATTRIBUTES if kind in values), *(kind for kind in values if kind not in _ATTRIBUTES)]
    return {_ATTRIBUTES.get(kind, kind): _one_or_list(values[kind]) for kind in order}


def _one_or_list(values: Sequence[str]) -> object:
    return values[0] if len(values) == 1 else list(values)


def _alternative_names(names: AlternativeNames) -> dict[str, object]:
    return _present(
        {
            "dnsNames": list(names.dns_names),
            "uris": list(names.uris),
            "emails": list(names.emails),
            "ipAddresses": list(names.ip_addresses),
        }
    )


def _general_names(names: Iterable[GeneralName]) -> dict[str, object]:
    lists: dict[str, list[str]] = {member: [] for member in _ALTERNATIVE_NAMES.values()}
    for name in names:
        lists[_ALTERNATIVE_NAMES[name.kind]].append(name.value)
    return _present(lists)


def _distribution_point(draft: CertificateDraft) -> dict[str, object]:
    points = _find(draft, CRLDistributionPoints)
    return {} if points is None else {"crlDistributionPointUri": points.uri}


def _find(draft: CertificateDraft, kind: type[Kind]) -> Kind | None:
    return next((extension for extension in draft.extensions if isinstance(extension, kind)), None)


def _present(members: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value}


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
