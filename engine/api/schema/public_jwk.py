"""A public key as a JWK (RFC 7517), the members that matter and no other."""

from typing import Annotated, Literal

from pydantic import Field

from engine.api.schema.model import Answer


class EcJwk(Answer):
    """RFC 7518 section 6.2."""

    kty: Literal["EC"]
    crv: Literal["P-256", "P-384", "P-521"]
    x: str
    y: str


class RsaJwk(Answer):
    """RFC 7518 section 6.3."""

    kty: Literal["RSA"]
    n: str
    e: str


class OkpJwk(Answer):
    """RFC 8037 section 2."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str


PublicJwk = Annotated[EcJwk | RsaJwk | OkpJwk, Field(discriminator="kty")]
