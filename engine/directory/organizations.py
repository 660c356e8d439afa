"""Organizations: the hosts they are served under, and what may be created in them. Always declared, never created."""

from dataclasses import dataclass, field

from engine.errors import NotAuthorized, NotFound, PolicyRefusal
from engine.host import load_host_field


@dataclass(frozen=True, slots=True)
class CreatedServicePolicy:
    """What services may do that are created over the API."""

    tokens: tuple[str, ...] = ()
    """Names of the tokens that KMS may have their keys on; the first unless one is named."""
    allow_adopt: bool = False
    allow_import: bool = False
    allow_delete_in_use: bool = False
    allow_jwk_signing_keys: bool = False
    """On the first of the tokens."""
    custody_minutes: int | None = None
    """How old the examination of a key may be that is to sign; None: custody is not required."""


@dataclass(frozen=True, slots=True)
class Organization:
    """The first id of a path."""

    id: str
    tenants: frozenset[str] = frozenset()
    """Paths of the tenants that are declared."""
    hosts: frozenset[str] = frozenset()
    """As `load_host` spells them; without any, every host is served."""
    created_services: CreatedServicePolicy = field(default_factory=CreatedServicePolicy)

    def check_host(self, host: str) -> None:
        """Raises NotFound if there are hosts and `host`, a Host header, names none of them."""
        if not self.hosts:
            return
        try:
            known = load_host_field(host) in self.hosts
        except ValueError:
            known = False
        if not known:
            raise NotFound(f"Unknown host alias: the organization {self.id} is not served under the host of the URL.")

    def choose_token(self, name: str | None) -> str:
        """The token of a new KMS. Raises NotAuthorized if there may be none, PolicyRefusal for another token."""
        tokens = self.created_services.tokens
        if not tokens:
            raise NotAuthorized(
                f"No KMS may be created in the organization {self.id}: the setting tokens of its created-services "
                "names none."
            )
        if name is None:
            return tokens[0]
        if name not in tokens:
            raise PolicyRefusal(f"Expected one of the tokens {', '.join(tokens)} for a new KMS, found another name.")
        return name
