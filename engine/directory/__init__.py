"""From a dotted path to the live thing it names: KMS, X.509 service, certificate store, credential.

`{organization}.{tenant}.{service}` names a service; one id more names a key of a KMS or a certificate of a store.
A service may use only what is attached to it.
"""

from engine.directory.credentials import Credential
from engine.directory.custody import KeyRecord
from engine.directory.descriptors import (
    CaSigned,
    CsrSource,
    EntryOrder,
    HostedKey,
    IacaAsIssuer,
    IacaData,
    IacaPem,
    IacaSigner,
    IssuerChoice,
    JwkKey,
    KeyDescriptor,
    KeySource,
    SelfSigned,
    SubjectSource,
)
from engine.directory.directory import Directory
from engine.directory.kms import KNOWN_KEY_TYPES, DeletedKey, Kms
from engine.directory.refusals import NOBODY, Refusal
from engine.directory.resources import Resource
from engine.directory.roles import ROLES, Permission
from engine.directory.x509_service import X509Service
from engine.directory.x509_store import X509Store

__all__ = [
    "KNOWN_KEY_TYPES",
    "NOBODY",
    "ROLES",
    "CaSigned",
    "Credential",
    "CsrSource",
    "DeletedKey",
    "Directory",
    "EntryOrder",
    "HostedKey",
    "IacaAsIssuer",
    "IacaData",
    "IacaPem",
    "IacaSigner",
    "IssuerChoice",
    "JwkKey",
    "KeyDescriptor",
    "KeyRecord",
    "KeySource",
    "Kms",
    "Permission",
    "Refusal",
    "Resource",
    "SelfSigned",
    "SubjectSource",
    "X509Service",
    "X509Store",
]
