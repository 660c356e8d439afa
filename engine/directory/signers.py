"""The two kinds of private key the corridor can be handed. Both sign inside a token and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature

from engine.errors import MalformedRequest
from engine.token import KeyReference, Token, TokenIdentity
from engine.x509.algorithms import check_signature, encode_signature, signature_algorithm_for
from engine.x509.spki import PublicKey

PRIVATE_JWK_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518 sections 6.2.2, 6.3.2 and 6.4."""


@dataclass(frozen=True, slots=True)
class HostedSigner:
    """A key that lives on a token, pinned by the SHA-256 of its SubjectPublicKeyInfo."""

    name: str
    public_key: PublicKey
    token: Token = field(repr=False)
    reference: KeyReference = field(repr=False)
    custody_sha256: str | None = None
    """Of the custody record that was in force when the key was looked up."""

    def check_present(self) -> None:
        """Raises TokenError while the token is away."""
        self.token.connected()

    def token_identity(self) -> TokenIdentity:
        """Which token it is on. Raises TokenError while that is away."""
        return self.token.identity()

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The token's raw signature."""
        return self.token.sign(self.reference, algorithm, message)


def jwk_name(spki_sha256: str) -> str:
    """What records call a key that a request has brought along, by the SHA-256 of its SubjectPublicKeyInfo, hex."""
    return f"jwk:{spki_sha256}"


@dataclass(frozen=True, slots=True)
class JwkSigner:
    """A private JWK that becomes a session object of a token for the length of one signature."""

    public_key: PublicKey
    token: Token = field(repr=False)
    jwk: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """`jwk:` and the SHA-256 of the SubjectPublicKeyInfo."""
        return jwk_name(self.public_key.sha256)

    @property
    def custody_sha256(self) -> None:
        """None: somebody outside has it."""
        return None

    def check_present(self) -> None:
        """Raises TokenError while the token is away."""
        self.token.connected()

    def token_identity(self) -> TokenIdentity:
        """Which token it becomes an object of. Raises TokenError while that is away."""
        return self.token.identity()

    def sign(self, algorithm: str, message: bytes) -> bytes:
        """The token's raw signature. MalformedRequest if the private half is not that of the public half."""
        raw = self.token.sign_with_jwk(self.jwk, algorithm, message)
        try:
            check_signature(
                self.public_key,
                signature_algorithm_for(self.public_key),
                encode_signature(self.public_key, raw),
                message,
            )
        except InvalidSignature:
            raise MalformedRequest("The private members of the JWK do not belong to its public members.") from None
        return raw
