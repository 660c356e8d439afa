"""`/v1/{target}/x509-service-api/…`: certification requests and certificates."""

from collections.abc import Mapping

from pydantic import TypeAdapter
from starlette.routing import Route

from engine.api.exchange import PostAnswer, post_endpoint
from engine.api.faults import load_model
from engine.api.ports import Directory
from engine.api.render import render_certificate, render_document_signer, render_iaca, render_request
from engine.api.schema import (
    CreateRequest,
    DocumentSignerRequestMembers,
    GenericRequestMembers,
    IssueCertificate,
    IssueDocumentSigner,
    IssueIaca,
)
from engine.issuance import Caller

_CREATE_REQUEST: TypeAdapter[GenericRequestMembers | DocumentSignerRequestMembers] = TypeAdapter(CreateRequest)
_ISSUE_CERTIFICATE = TypeAdapter(IssueCertificate)
_ISSUE_IACA = TypeAdapter(IssueIaca)
_ISSUE_DOCUMENT_SIGNER = TypeAdapter(IssueDocumentSigner)


def x509_service_routes(directory: Directory, body_limit: int) -> list[Route]:
    """The four calls of an X.509 service."""

    def create_request(target: str, document: Mapping[str, object], caller: Caller) -> object:
        members = load_model(_CREATE_REQUEST, document)
        service = directory.x509_service(target)
        key = members.subject_key_descriptor.value()
        return render_request(service.create_request(key, members.value(), caller))

    def issue_certificate(target: str, document: Mapping[str, object], caller: Caller) -> object:
        members = load_model(_ISSUE_CERTIFICATE, document)
        service = directory.x509_service(target)
        issued = service.issue_certificate(
            members.certificate_data.value(),
            members.subject_public_key_source.value(),
            members.issuer.value(),
            members.stored_certificate_id,
            caller,
        )
        return render_certificate(issued)

    def issue_iaca(target: str, document: Mapping[str, object], caller: Caller) -> object:
        members = load_model(_ISSUE_IACA, document)
        service = directory.x509_service(target)
        metadata = members.vical_entry_complementary_metadata
        issued = service.issue_iaca(
            members.certificate_data.value(),
            members.iaca_key_desc.value(),
            members.stored_certificate_id,
            None if metadata is None else metadata.value(),
            caller,
        )
        return render_iaca(issued)

    def issue_document_signer(target: str, document: Mapping[str, object], caller: Caller) -> object:
        members = load_model(_ISSUE_DOCUMENT_SIGNER, document)
        service = directory.x509_service(target)
        issued = service.issue_document_signer(
            members.certificate_data.value(),
            members.source(),
            members.iaca_signer.value(),
            members.stored_certificate_id,
            caller,
        )
        return render_document_signer(issued)

    def route(call: str, answer: PostAnswer) -> Route:
        path = f"/v1/{{target}}/x509-service-api/{call}"
        return Route(path, post_endpoint(directory, body_limit, answer), methods=["POST"])

    return [
        route("csrs", create_request),
        route("certificate", issue_certificate),
        route("iso/iacas", issue_iaca),
        route("iso/document-signers", issue_document_signer),
    ]
