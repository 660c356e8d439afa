"""Credentials: an API key or the token of a session, presented as `Authorization: Bearer …` (RFC 6750 section 2.1).

The directory compares the SHA-256 of what was presented with what is stored, so no secret is kept and no
comparison depends on how much of a guess was right.
"""

import re

from starlette.datastructures import Headers
from starlette.requests import Request

from engine.api.paths import masked
from engine.api.ports import Credential, Directory
from engine.directory import Permission
from engine.errors import CredentialRequired, NotAuthorized, NotFound

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,4096}=*)")


def presented_secret(headers: Headers) -> str:
    """The secret in the one Authorization header. Raises CredentialRequired; the message never quotes the header."""
    values = headers.getlist("authorization")
    if len(values) != 1:
        raise CredentialRequired(f"Expected one 'Authorization: Bearer' header, found {len(values) or 'none'}.")
    match = _BEARER.fullmatch(values[0].strip())
    if match is None:
        raise CredentialRequired("Expected an Authorization header of the form 'Bearer <API key or session token>'.")
    return match[1]


def source_of(request: Request) -> str:
    """The address that the request came from; empty if that is not known."""
    return "" if request.client is None else request.client.host


def authenticate(directory: Directory, secret: str) -> Credential:
    """The credential with that secret. Raises CredentialRequired."""
    credential = directory.find_credential(secret)
    if credential is None:
        raise CredentialRequired("The presented API key or session token is not known.")
    return credential


def check_scope(credential: Credential, path: str) -> None:
    """Raises NotFound unless `path` lies in the credential's scope; asked before anything is looked up there.

    It is not told from what does not exist, so that no answer says what others have.
    """
    if not credential.may_use(path):
        raise NotFound(f"There is nothing at {masked(path)} that the presented credential may use.")


def check_right(credential: Credential, permission: Permission) -> None:
    """Raises NotAuthorized unless a role of the credential has the permission."""
    if not credential.may(permission):
        raise NotAuthorized(f"The presented credential has no role with the permission {permission.value!r}.")
