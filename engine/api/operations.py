"""What a call of the API is, said once: routing, authorisation, validation and the OpenAPI document read it here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from engine.api.faults import load_model
from engine.api.json_body import check_content_type, load_json_object
from engine.api.ports import Credential
from engine.directory import Permission
from engine.issuance import Caller

Members = TypeVar("Members")
Loaded = TypeVar("Loaded", covariant=True)


class Body(Protocol[Loaded]):
    """How the octets of a request body are read."""

    @property
    def is_required(self) -> bool:
        """Whether there has to be one."""

    def load(self, content_type: str | None, octets: bytes) -> Loaded:
        """What the body says. Raises MalformedRequest."""

    def content(self) -> Mapping[str, TypeAdapter[Any]]:
        """What each media type may hold, for the OpenAPI document."""


class JsonBody(Generic[Members]):
    """A JSON object with the members of a model."""

    is_required = True

    def __init__(self, model: Any) -> None:
        """`model`: a pydantic model, or a union of such."""
        self._adapter: TypeAdapter[Members] = TypeAdapter(model)

    def load(self, content_type: str | None, octets: bytes) -> Members:
        check_content_type(content_type)
        return load_model(self._adapter, load_json_object(octets))

    def content(self) -> Mapping[str, TypeAdapter[Any]]:
        return {"application/json": self._adapter}


class NoBody:
    """No body; one that is there all the same, as some clients send, is not looked at."""

    is_required = False

    def load(self, content_type: str | None, octets: bytes) -> None:
        return None

    def content(self) -> Mapping[str, TypeAdapter[Any]]:
        return {}


NO_BODY = NoBody()


def _as_it_is(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, as the OpenAPI document describes it; who reads it checks it."""

    name: str
    description: str
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call(Generic[Members]):
    """A request that may do what it asks for: it was authenticated, its target is in scope, its body was read."""

    target: str
    credential: Credential
    caller: Caller
    parameters: Mapping[str, str]
    members: Members = field(repr=False)
    """A private key may be among them."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Members]):
    """One call: `{target}` in its path, if there, is the dotted path it is about."""

    method: str
    path: str
    summary: str
    permission: Permission | None
    """None: it needs no credential."""
    answer: Callable[[Call[Members]], object]
    """Does what is asked and returns what `render` makes the JSON value of the answer from."""
    body: Body[Members]
    status: int = 200
    """Of success."""
    response: Any = None
    """The model of the answer, for the OpenAPI document."""
    parameters: tuple[Parameter, ...] = ()
    problems: frozenset[int] = field(default_factory=frozenset)
    """Statuses of refusals beyond those that every call can end in."""
    issues: bool = False
    """Whether it issues a certificate, so that a repeat under the same Idempotency-Key gets the same answer. Then
    `answer` returns the IssuedCertificate, and `render` is asked before the certificate is recorded: the answer that is
    to be given again is kept with it."""
    render: Callable[[Any], object] = _as_it_is
    signing_key: Callable[[Members], str | None] | None = None
    """The path of the key that is to sign, if it is one of a KMS; None: no key that the body names signs."""

    def __post_init__(self) -> None:
        if self.issues and self.render is _as_it_is:
            raise TypeError(f"Expected {self.method} {self.path}, which issues, to have a render of its own.")
