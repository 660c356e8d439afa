"""The calls of a certificate store."""

from typing import Annotated, Literal

from pydantic import Field

from engine.api.fields import Path
from engine.api.schema.model import Answer, Model
from engine.api.schema.x509_service import VicalMetadataMembers
from engine.directory import EntryOrder


class BaseEntryMembers(Model):
    """Keep a certificate."""

    type: Literal["base"]
    certificate_pem: str

    def value(self) -> EntryOrder:
        return EntryOrder(self.type, self.certificate_pem)


class VicalEntryMembers(Model):
    """Keep a certificate with what a VICAL says about it."""

    type: Literal["vical-entry"]
    certificate_pem: str
    complementary_metadata: VicalMetadataMembers

    def value(self) -> EntryOrder:
        return EntryOrder(self.type, self.certificate_pem, self.complementary_metadata.value())


KeepCertificate = Annotated[BaseEntryMembers | VicalEntryMembers, Field(discriminator="type")]


class EntryData(Answer):
    """What is kept."""

    type: Literal["base", "vical-entry"]
    pem: str
    complementary_metadata: dict[str, object] | None = None
    """Of a `vical-entry`, as it was given."""


class StoreEntry(Answer):
    """An entry of a certificate store."""

    id: Path = Field(alias="_id")
    """The full path."""
    data: EntryData


class DeletedEntry(Answer):
    """An entry that is there no longer."""

    id: Path = Field(alias="_id")
    """The full path it had."""
