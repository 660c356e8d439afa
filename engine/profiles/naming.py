"""Subjects and alternative names of orders, as `x509` values, with the faults found on the way."""

from collections.abc import Iterable, Mapping

from engine.errors import MalformedRequest
from engine.profiles.countries import COUNTRY_CODES
from engine.profiles.faults import must
from engine.profiles.orders import AlternativeNames, SubjectName
from engine.x509.extensions import GeneralName, load_general_name
from engine.x509.names import Name, build_name


def load_generic_subject(subject_name: SubjectName, faults: list[str]) -> Name:
    """The generic subject in the order C, ST, L, O, OU, CN; faults are added to `faults`."""
    return _load_name(
        (
            ("country", subject_name.country),
            ("state_or_province_name", subject_name.state_or_province_name),
            ("locality_name", subject_name.locality_name),
            ("organization_name", subject_name.organization_name),
            ("organizational_unit_name", subject_name.organizational_unit_name),
            ("common_name", subject_name.common_name),
        ),
        faults,
    )


def load_iso_subject(attributes: Mapping[str, str | None], faults: list[str]) -> Name:
    """An ISO/IEC 18013-5 subject in the order C, CN, ST, O, L; C must be an official ISO 3166-1 alpha-2 code."""
    country = attributes["country"]
    if country not in COUNTRY_CODES:
        faults.append(must("country", "be an upper-case ISO 3166-1 alpha-2 code", country or ""))
    order = ("country", "common_name", "state_or_province_name", "organization_name", "locality_name")
    skipped = "country" if country not in COUNTRY_CODES else ""
    return _load_name(((kind, attributes.get(kind)) for kind in order if kind != skipped), faults)


def _load_name(attributes: Iterable[tuple[str, str | None]], faults: list[str]) -> Name:
    name = Name(tuple((kind, value) for kind, value in attributes if value is not None))
    try:
        build_name(name)
    except MalformedRequest:
        faults.extend(fault for attribute in name.attributes for fault in _attribute_faults(attribute))
    return name


def _attribute_faults(attribute: tuple[str, str]) -> tuple[str, ...]:
    try:
        build_name(Name((attribute,)))
    except MalformedRequest as error:
        return (error.message,)
    return ()


def load_alternative_names(names: AlternativeNames, faults: list[str]) -> tuple[GeneralName, ...]:
    """The names in the order DNS, URI, e-mail, IP, normalised; one given twice is a fault."""
    loaded: list[GeneralName] = []
    for kind, texts in (
        ("dNSName", names.dns_names),
        ("uniformResourceIdentifier", names.uris),
        ("rfc822Name", names.emails),
        ("iPAddress", names.ip_addresses),
    ):
        for text in texts:
            name = load_alternative_name(kind, text, faults)
            if name is not None and name in loaded:
                faults.append(must("subjectAlternativeNames", "have each name once", text))
            elif name is not None:
                loaded.append(name)
    return tuple(loaded)


def load_alternative_name(kind: str, text: str, faults: list[str]) -> GeneralName | None:
    """One GeneralName, or None and a fault."""
    try:
        return load_general_name(kind, text)
    except MalformedRequest as error:
        faults.append(error.message)
        return None


def load_distribution_point(uri: str, faults: list[str]) -> str:
    """The URI of a CRL, which must be http or https (RFC 5280 section 4.2.1.13)."""
    name = load_alternative_name("uniformResourceIdentifier", uri, faults)
    if name is not None and not name.value.lower().startswith(("http://", "https://")):
        faults.append(must("crlDistributionPointUri", "be an http or https URI", uri))
    return uri if name is None else name.value


def attribute_title(kind: str) -> str:
    """An attribute type as X.520 spells it: `state_or_province_name` is stateOrProvinceName."""
    first, *others = kind.split("_")
    return first + "".join(word.capitalize() for word in others)
