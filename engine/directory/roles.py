"""What a credential may do: roles are sets of permissions, and one permission opens each call.

Where it may do so is the credential's scope; a role never reaches beyond it.
"""

from collections.abc import Iterable, Mapping
from enum import Enum


class Permission(Enum):
    """What a call needs."""

    READ = "read"
    """Look at keys, certificates and resources."""
    ISSUE = "issue"
    """Have keys sign: certification requests and certificates."""
    STORE = "store"
    """Put certificates that were issued elsewhere into stores, replace and delete entries."""
    MANAGE_KEYS = "manage-keys"
    """Generate, import, adopt and destroy keys."""
    MANAGE_RESOURCES = "manage-resources"
    """Create, link and delete tenants and services."""


ROLES: Mapping[str, frozenset[Permission]] = {
    "reader": frozenset({Permission.READ}),
    "issuer": frozenset({Permission.READ, Permission.ISSUE}),
    "store-manager": frozenset({Permission.READ, Permission.STORE}),
    "key-manager": frozenset({Permission.READ, Permission.MANAGE_KEYS}),
    "administrator": frozenset(Permission),
}
"""A credential may have several."""


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """What these roles may do together; a role that is not known, of a later version say, allows nothing."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))
