"""Any valid draft: every kind of extension and key, times on both sides of 2050, names in any script."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from engine.x509.algorithms import signature_algorithm_for
from engine.x509.certificate import CertificateDraft
from engine.x509.extensions import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CopiedExtension,
    CRLDistributionPoints,
    ExtendedKeyUsage,
    Extension,
    GeneralName,
    IssuerAlternativeName,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
    load_general_name,
)
from engine.x509.names import Name, build_name
from engine.x509.spki import PublicKey, load_spki
from tests.unit.x509.forging import KEY_TYPES, private_key, spki_of

USES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
EARLIEST = datetime(1950, 1, 1)
LATEST = datetime(9999, 12, 30)
# Texts that asn1crypto leaves alone when it encodes anew, which it also does, taking it for an indefinite length,
# whenever a length ends with the octet 80; it would normalise other URIs, and knows IDNA 2003 only.
URIS = (
    "http://crl.example.com/a.crl",
    "https://example.com:8443/%C3%A9?a=b#c",
    "ldap://ldap.example.com/cn=x,c=US?crl",
    "spiffe://example.org/ns/default",
)
LABELS = ("example", "a-b", "xn--mnchen-3ya", "münchen", "東京", "1a", "x" * 63)

keys = st.sampled_from(KEY_TYPES).map(lambda key_type: load_spki(spki_of(private_key(key_type))))
printable = st.text("ABCXYZabcxyz0189 '()+,-./:=?", min_size=1, max_size=64).filter(str.strip)


def _text(bound: int) -> st.SearchStrategy[str]:
    characters = st.characters(exclude_categories=("Cc", "Cs"))
    return st.text(characters, min_size=1, max_size=bound).filter(lambda text: not text.isspace())


names = st.lists(
    st.one_of(
        st.tuples(st.just("country"), st.sampled_from(["US", "de", "CH"])),
        st.tuples(st.sampled_from(["state_or_province_name", "locality_name"]), _text(128)),
        st.tuples(st.sampled_from(["organization_name", "organizational_unit_name", "common_name"]), _text(64)),
        st.tuples(st.just("serial_number"), printable),
        st.tuples(st.just("email_address"), st.sampled_from(["a@example.com", "first.last@xn--mnchen-3ya.example"])),
    ),
    max_size=6,
).map(lambda attributes: Name(tuple(attributes)))

_domains = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "example"]))
general_names = st.one_of(
    st.tuples(st.just("dNSName"), st.one_of(_domains, _domains.map(lambda domain: f"*.{domain}"))),
    st.tuples(st.just("rfc822Name"), _domains.map(lambda domain: f"first.last+tag@{domain}")),
    st.tuples(st.just("uniformResourceIdentifier"), st.sampled_from(URIS)),
    st.tuples(st.just("iPAddress"), st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))),
    st.tuples(st.just("iPAddress"), st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))),
).map(lambda pair: load_general_name(*pair))
several_names: st.SearchStrategy[tuple[GeneralName, ...]] = st.lists(general_names, min_size=1, max_size=5).map(tuple)

key_identifiers = st.binary(min_size=1, max_size=64)
object_identifiers = st.one_of(
    st.sampled_from(["1.3.6.1.5.5.7.3.1", "1.0.18013.5.1.2", "2.5.29.37.0"]),
    st.lists(st.integers(0, 2**70), min_size=1, max_size=6).map(lambda arcs: ".".join(map(str, (2, *arcs)))),
)


def _sensible(uses: set[str]) -> frozenset[str]:
    """The uses, with keyAgreement where encipherOnly or decipherOnly needs it."""
    return frozenset(uses | {"keyAgreement"} if uses & {"encipherOnly", "decipherOnly"} else uses)


_values: dict[str, st.SearchStrategy[Extension]] = {
    "subject key identifier": st.builds(SubjectKeyIdentifier, key_identifiers),
    "authority key identifier": st.builds(AuthorityKeyIdentifier, key_identifiers),
    "basic constraints": st.one_of(
        st.just(BasicConstraints(False)),
        st.builds(BasicConstraints, st.just(True), st.one_of(st.none(), st.integers(0, 300))),
    ),
    "key usage": st.sets(st.sampled_from(USES), min_size=1).map(lambda uses: KeyUsage(_sensible(uses))),
    "extended key usage": st.builds(
        ExtendedKeyUsage,
        st.lists(object_identifiers, min_size=1, max_size=4, unique=True).map(tuple),
        critical=st.booleans(),
    ),
    "subject alternative name": st.builds(SubjectAlternativeName, several_names, critical=st.booleans()),
    "issuer alternative name": st.builds(IssuerAlternativeName, several_names),
    "distribution points": st.sampled_from(URIS).map(CRLDistributionPoints),
    "copied": st.builds(
        CopiedExtension,
        st.just("1.3.6.1.4.1.99999.1"),
        st.booleans(),
        st.sampled_from([b"\x05\x00", b"\x0c\x02\xc3\xa9", b"\x30\x03\x02\x01\x07"]),
    ),
}


@st.composite
def extension_lists(draw: st.DrawFn, *, least: int = 1) -> tuple[Extension, ...]:
    kinds = draw(st.lists(st.sampled_from(list(_values)), unique=True, min_size=least))
    return tuple(draw(_values[kind]) for kind in kinds)


@st.composite
def drafts(draw: st.DrawFn) -> CertificateDraft:
    key: PublicKey = draw(keys)
    not_before = draw(st.datetimes(EARLIEST, LATEST)).replace(microsecond=0, tzinfo=UTC)
    seconds = int((LATEST.replace(tzinfo=UTC) - not_before).total_seconds()) + 1
    return CertificateDraft(
        serial_number=draw(st.integers(1, 2**159 - 1)),
        algorithm=signature_algorithm_for(draw(keys)),
        issuer=build_name(draw(names)),
        not_before=not_before,
        not_after=not_before + timedelta(seconds=draw(st.integers(1, seconds))),
        subject=draw(names),
        public_key=key,
        extensions=draw(extension_lists()),
    )
