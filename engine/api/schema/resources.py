"""The calls that change and show the tree of tenants and services."""

from typing import Annotated, Literal

from pydantic import Field

from engine.api.fields import Path
from engine.api.schema.model import Answer, Model

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""For people; never looked anything up by."""


class CreateTenant(Model):
    """Create a tenant."""

    name: Name | None = None
    """For people."""


class CreateKms(Model):
    """Create a KMS."""

    type: Literal["kms"]
    name: Name | None = None
    """For people."""
    token: str | None = None
    """The name of the token its keys are to live on: one of those that the configuration gives the organization, the
    first unless one is named."""


class CreateX509Service(Model):
    """Create an X.509 service."""

    type: Literal["x509-service"]
    name: Name | None = None
    """For people."""
    dependencies: tuple[Path, ...] | None = None
    """KMS and certificate stores to attach to it at once."""


class CreateX509Store(Model):
    """Create a certificate store."""

    type: Literal["x509-store"]
    name: Name | None = None
    """For people."""


CreateService = Annotated[CreateKms | CreateX509Service | CreateX509Store, Field(discriminator="type")]


class DependencyMembers(Model):
    """Attach or detach a KMS or a certificate store."""

    dependency: Path


class ResourceAnswer(Answer):
    """An organization, tenant or service."""

    id: Path = Field(alias="_id")
    """The full path."""
    type: Literal["organization", "tenant", "kms", "x509-service", "x509-store"]
    parent: Path | None = None
    """The path of what it is in."""
    name: str | None = None
    token: str | None = None
    """Of a KMS: the name of the token that its keys live on."""
    dependencies: list[Path] | None = None
    """Of an X.509 service: what is attached to it."""
    declared: bool
    """Whether the configuration file declares it, so that it cannot be changed here."""


class DeletedResource(Answer):
    """A resource that is there no longer."""

    id: Path = Field(alias="_id")
    """The full path it had."""


class DependencyAnswer(Answer):
    """What was attached to a service, or detached from it."""

    id: Path = Field(alias="_id")
    """The path of the service."""
    dependency: Path
