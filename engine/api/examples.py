"""Examples in the OpenAPI document: what the vendor's page shows, with the ids of the first start.

Each body can be sent as it is to an engine that has just been started for a trial.
"""

from collections.abc import Mapping

SERVICE, STORE, KMS = "test.tenant1.x509-service-1", "test.tenant1.x509-store-1", "test.tenant1.kms1"

TARGETS: Mapping[str | tuple[str, str], str] = {
    "x509-service-api": SERVICE,
    "x509-store-api": STORE,
    "kms-service-api": KMS,
    ("PUT", "/v1/{target}/x509-service-api/certificates"): f"{SERVICE}.example-leaf",
    ("POST", "/v1/{target}/x509-service-api/certificates"): f"{SERVICE}.example-leaf-2",
    ("GET", "/v1/{target}/x509-store-api/certificates/evidence"): f"{STORE}.ca-secp256r1",
    ("POST", "/v1/{target}/x509-store-api/certificates"): f"{STORE}.example",
    ("PUT", "/v1/{target}/x509-store-api/certificates"): f"{STORE}.example",
    ("DELETE", "/v1/{target}/x509-store-api/certificates"): f"{STORE}.example",
    ("POST", "/v1/{target}/kms-service-api/keys/generate"): f"{KMS}.example-key",
    ("POST", "/v1/{target}/kms-service-api/keys/import/jwk"): f"{KMS}.imported-key",
    ("POST", "/v1/{target}/kms-service-api/keys/adopt"): f"{KMS}.ceremony-2026",
    ("DELETE", "/v1/{target}/kms-service-api/keys"): f"{KMS}.example-key",
    ("POST", "/v1/{target}/resource-api/tenants/create"): "test.tenant2",
    ("POST", "/v1/{target}/resource-api/services/create"): "test.tenant1.x509-service-2",
    ("GET", "/v1/{target}/resource-api/resources/list"): "test",
    ("DELETE", "/v1/{target}/resource-api/resources/delete"): "test.tenant2",
    ("POST", "/v1/{target}/x509-service-api/dependencies/add"): "test.tenant1.x509-service-2",
    ("POST", "/v1/{target}/x509-service-api/dependencies/remove"): "test.tenant1.x509-service-2",
}
"""By method and path, or by tag; the former come first."""

CSR_PEM = """\
-----BEGIN CERTIFICATE REQUEST-----
MIHfMIGGAgEAMCQxCzAJBgNVBAYTAlVTMRUwEwYDVQQDDAxFeGFtcGxlIExlYWYw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS5/WkNuh1TDbPLY3NdlE4KcjneezFr
BaKyTTHStHiMtYICmtKY5Nwat+OMF3WYg3IG1TB3Il7kfnoeITooAH2NoAAwCgYI
KoZIzj0EAwIDSAAwRQIgSO5S7Dk9mz8k3G6V2X1T86SKKmrxGk9VIrgIwcE4L4UC
IQCn9tYCeGyp1AyI/cVkpae+M88A6JuBe1NxKs37jk0RaQ==
-----END CERTIFICATE REQUEST-----"""
"""For a key that nobody has: its private half was thrown away."""

CERTIFICATE_PEM = """\
-----BEGIN CERTIFICATE-----
MIIBTjCB9qADAgECAhRNWhx+mz+KYCfB1OX2BxgpOktcbTAKBggqhkjOPQQDAjAf
MQswCQYDVQQGEwJVUzEQMA4GA1UEAwwHRXhhbXBsZTAeFw0yNTA1MjgwMDAwMDBa
Fw00MDA1MjQwMDAwMDBaMB8xCzAJBgNVBAYTAlVTMRAwDgYDVQQDDAdFeGFtcGxl
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELmDaTcMKg1DW/txHBz/EyhMhMFrA
9kUxzxD9nGDoLFUFLzTGl365CVZLxH++8AdjDK0cyczNKtmrNcL5RRGgM6MQMA4w
DAYDVR0TAQH/BAIwADAKBggqhkjOPQQDAgNHADBEAiA7rsIIwgMMmeFOTnvT/E6Y
rPpGYnjizPJ3rjhfzaPSigIgfLJ1+4PaYRZWa76pIfByEeSukWqalG9hoygHnLg9
rdU=
-----END CERTIFICATE-----"""
"""Likewise."""


def _hosted(key_id: str) -> dict[str, object]:
    return {"type": "kms-hosted-key-descriptor", "keyIdPath": f"{KMS}.{key_id}"}


_CSR: Mapping[str, object] = {"type": "csr", "csrPEM": CSR_PEM}
_IACA_DATA: Mapping[str, object] = {
    "country": "US",
    "commonName": "Example IACA",
    "notBefore": "2025-05-28T12:23:01Z",
    "notAfter": "2040-05-24T12:23:01Z",
    "issuerAlternativeNameConf": {"uri": "https://iaca.example.com"},
}
_UNIFIED: Mapping[str, object] = {
    "A leaf for a key of the KMS": {
        "issuerKeyRef": f"{KMS}.ca-secp256r1",
        "subjectKeyRef": f"{KMS}.leaf-secp256r1",
        "subjectDn": "C=US,CN=Example Leaf",
        "keyUsage": ["digitalSignature"],
        "subjectAlternativeNames": [{"type": "dnsName", "name": "leaf.example.com"}],
    },
}
_KEPT: Mapping[str, object] = {
    "A certificate": {"type": "base", "certificatePem": CERTIFICATE_PEM},
    "With what a VICAL says": {
        "type": "vical-entry",
        "certificatePem": CERTIFICATE_PEM,
        "complementaryMetadata": {"docType": ["org.iso.18013.5.1.mDL"]},
    },
}
_RFC_7517_KEY: Mapping[str, object] = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
}
"""Published there, so no secret."""

BODIES: Mapping[tuple[str, str], Mapping[str, object]] = {
    ("POST", "/v1/{target}/x509-service-api/csrs"): {
        "Any subject": {
            "type": "generic",
            "subjectKeyDescriptor": _hosted("leaf-secp256r1"),
            "subjectName": {"commonName": "Example Leaf", "country": "US", "organizationName": "Example Org"},
            "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
        },
        "An mdoc document signer": {
            "type": "iso-document-signer",
            "subjectKeyDescriptor": _hosted("leaf-secp256r1"),
            "certificateData": {"country": "US", "commonName": "Example DS"},
        },
    },
    ("POST", "/v1/{target}/x509-service-api/certificate"): {
        "A leaf from a certification request": {
            "certificateData": {
                "subjectName": {"commonName": "Example Leaf", "country": "US"},
                "keyUsage": ["DigitalSignature"],
            },
            "subjectPublicKeySource": _CSR,
            "issuer": {"type": "ca-signed", "issuerKeyDescriptor": _hosted("ca-secp256r1")},
        },
        "A leaf for a key of the KMS, stored under an id": {
            "storedCertificateId": "generic-leaf",
            "certificateData": {
                "subjectName": {"commonName": "Example Leaf", "country": "US"},
                "keyUsage": ["DigitalSignature"],
                "extendedKeyUsageOids": ["1.3.6.1.5.5.7.3.1"],
                "subjectAlternativeNames": {"dnsNames": ["leaf.example.com"]},
            },
            "subjectPublicKeySource": {"type": "key-descriptor", "keyDescriptor": _hosted("leaf-secp256r1")},
            "issuer": {"type": "ca-signed", "issuerKeyDescriptor": _hosted("ca-secp256r1")},
        },
        "A CA, signed by itself": {
            "certificateData": {
                "subjectName": {"commonName": "Example CA", "country": "US"},
                "keyUsage": ["KeyCertSign", "CRLSign"],
                "isCertificateAuthority": True,
                "pathLengthConstraint": 0,
            },
            "subjectPublicKeySource": {"type": "key-descriptor", "keyDescriptor": _hosted("ca-secp256r1")},
            "issuer": {"type": "self-signed"},
        },
    },
    ("POST", "/v1/{target}/x509-service-api/iso/iacas"): {
        "An IACA": {"iacaKeyDesc": _hosted("iaca-secp256r1"), "certificateData": _IACA_DATA},
    },
    ("POST", "/v1/{target}/x509-service-api/iso/document-signers"): {
        "From a certification request": {
            "iacaSigner": {
                "type": "iaca-cert-data-descriptor",
                "iacaKeyDesc": _hosted("iaca-secp256r1"),
                "certificateData": _IACA_DATA,
            },
            "certificateData": {
                "country": "US",
                "commonName": "Example DS",
                "crlDistributionPointUri": "https://crl-example.com",
            },
            "dsPublicKeySource": _CSR,
        },
    },
    ("PUT", "/v1/{target}/x509-service-api/certificates"): _UNIFIED,
    ("POST", "/v1/{target}/x509-service-api/certificates"): _UNIFIED,
    ("POST", "/v1/{target}/x509-store-api/certificates"): _KEPT,
    ("PUT", "/v1/{target}/x509-store-api/certificates"): _KEPT,
    ("POST", "/v1/{target}/kms-service-api/keys/generate"): {
        "A P-256 key": {"keyType": "secp256r1"},
        "An RSA key, as other clients ask for it": {"backend": "jwk", "keyType": "RSA"},
    },
    ("POST", "/v1/{target}/kms-service-api/keys/import/jwk"): {"The key of RFC 7517 appendix A.2": _RFC_7517_KEY},
    ("POST", "/v1/{target}/kms-service-api/keys/adopt"): {
        "By its label": {"label": "ceremony-2026"},
        "By its CKA_ID": {"id": "a1b2c3d4"},
    },
    ("POST", "/v1/{target}/resource-api/tenants/create"): {"A tenant": {"name": "Second tenant"}},
    ("POST", "/v1/{target}/resource-api/services/create"): {
        "An X.509 service": {"type": "x509-service"},
        "A KMS": {"type": "kms"},
        "A certificate store": {"type": "x509-store"},
    },
    ("POST", "/v1/{target}/x509-service-api/dependencies/add"): {"A KMS": {"dependency": KMS}},
    ("POST", "/v1/{target}/x509-service-api/dependencies/remove"): {"A KMS": {"dependency": KMS}},
    ("POST", "/auth/account/emailpass"): {
        "Somebody": {"email": "somebody@example.com", "password": "correct horse battery staple"}
    },
}
"""By method and path: what an example shows → the body."""
