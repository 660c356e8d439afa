"""The calls of a KMS."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from engine.api.fields import Hex, Instant, Path
from engine.api.paths import shown
from engine.api.schema.model import Answer, Model
from engine.api.schema.public_jwk import PublicJwk
from engine.directory import KNOWN_KEY_TYPES

BACKENDS = ("pkcs11", "jwk")
"""What clients call the place where keys are. Each of them means the token of the KMS."""

_KEY_TYPE_BY_LOWER = {key_type.lower(): key_type for key_type in KNOWN_KEY_TYPES}
_BASE64URL = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}


def _load_key_type(value: str) -> str:
    key_type = _KEY_TYPE_BY_LOWER.get(value.lower()) if value.isascii() else None
    if key_type is None:
        raise PydanticCustomError(
            "value",
            "expected one of {known}, found {found}",
            {"known": ", ".join(KNOWN_KEY_TYPES), "found": shown(value)},
        )
    return key_type


def _check_backend(value: str) -> str:
    if value not in BACKENDS:
        raise PydanticCustomError(
            "value",
            "expected {known}, either of which means the token of this KMS, found {found}",
            {"known": " or ".join(BACKENDS), "found": shown(value)},
        )
    return value


def _check_flag(value: object) -> object:
    """1 is no true here and 0 no false, though Python takes them for equal."""
    if not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "expected true or false")
    return value


def _in_any_case(text: str) -> str:
    """A pattern: JSON Schema has no flag for it."""
    return "".join(f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in text)


def _private_jwk(kty: str, crv: tuple[str, ...], members: str) -> dict[str, object]:
    properties: dict[str, object] = {"kty": {"const": kty}, **dict.fromkeys(members.split(), _BASE64URL)}
    if crv:
        properties["crv"] = {"enum": list(crv)}
    return {"type": "object", "required": list(properties), "properties": properties}


KeyTypeName = Annotated[
    str,
    AfterValidator(_load_key_type),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{'|'.join(map(_in_any_case, KNOWN_KEY_TYPES))})$"}),
]
Backend = Annotated[str, AfterValidator(_check_backend), WithJsonSchema({"type": "string", "enum": list(BACKENDS)})]
PrivateJwk = Annotated[
    dict[str, object],
    WithJsonSchema(
        {
            "description": "A private key as a bare JWK (RFC 7517); members that are not named here are not looked at.",
            "oneOf": [
                _private_jwk("EC", ("P-256", "P-384", "P-521"), "x y d"),
                _private_jwk("RSA", (), "n e d p q dp dq qi"),
                _private_jwk("OKP", ("Ed25519",), "x d"),
            ],
        }
    ),
]


class KeyConfig(Model):
    """How a key is to be; only what every key that is generated here is, so that nothing is silently ignored."""

    sensitive: Annotated[Literal[True], BeforeValidator(_check_flag)] | None = None
    extractable: Annotated[Literal[False], BeforeValidator(_check_flag)] | None = None


class GenerateKey(Model):
    """Generate a key pair on the token of the KMS."""

    backend: Backend | None = None
    key_type: KeyTypeName
    config: KeyConfig | None = None


class AdoptKey(Model):
    """Bind a key that is on a token already, by CKA_LABEL, CKA_ID or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [member], "properties": {member: {"type": "string"}}} for member in ("label", "id")]
        }
    )

    label: str | None = None
    id: Hex | None = None

    def token_id(self) -> bytes | None:
        """CKA_ID."""
        return None if self.id is None else bytes.fromhex(self.id)


class TokenAnswer(Answer):
    """The token, in its own words."""

    label: str
    manufacturer: str
    model: str
    serial: str
    firmware: str


class NegativeTest(Answer):
    """What came of trying to take the private key out of its token."""

    result: Literal["refused", "readable", "wrapped", "copied", "not tested", "inconclusive"]
    attribute: str | None = None
    mechanism: str | None = None
    answer: str | None = None
    """What the token answered, a name of PKCS#11."""
    reason: str | None = None
    """What the token lacks for the trial."""


class NegativeTests(Answer):
    """The trials that must be refused."""

    read: NegativeTest
    wrap: NegativeTest
    copy_: NegativeTest = Field(alias="copy")


class Custody(Answer):
    """How the token holds the private key: attributes with the names of PKCS#11, without those it does not tell."""

    key_type: str | None = None
    private: bool | None = None
    sensitive: bool | None = None
    always_sensitive: bool | None = None
    extractable: bool | None = None
    never_extractable: bool | None = None
    local: bool | None = None
    local_not_told: str | None = None
    """Why a token that makes keys itself does not say so in CKA_LOCAL."""
    key_gen_mechanism: str | int | None = None
    sign: bool | None = None
    sign_recover: bool | None = None
    decrypt: bool | None = None
    unwrap: bool | None = None
    derive: bool | None = None
    modifiable: bool | None = None
    always_authenticate: bool | None = None
    token: TokenAnswer
    negative_tests: NegativeTests | None = None
    origin: str
    """How the key came: generated, adopted, imported."""
    spki_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the SubjectPublicKeyInfo."""
    checked_at: Instant
    """When the key was examined."""
    shortfalls: list[str] | None = None
    """Why the key may not sign where custody is required; absent if it may."""


class KeyAnswer(Answer):
    """The public half of a key."""

    type: Literal["jwk"]
    jwk: PublicJwk


class DeletedKeyAnswer(Answer):
    """What became of a key."""

    id: Path = Field(alias="_id")
    """The full path."""
    destroyed: bool
    """Whether the key was destroyed on its token. A key that was adopted, or is known by another path too, stays."""
    message: str


class KeyEntry(Answer):
    """A key of a KMS."""

    id: Path = Field(alias="_id")
    """The full path."""
    type: Literal["key"]
    key: KeyAnswer
    custody: Custody
