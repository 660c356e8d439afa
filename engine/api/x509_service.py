"""`/v1/{target}/x509-service-api/…`: certification requests and certificates."""

from typing import Any

from engine.api.operations import Call, JsonBody, Operation
from engine.api.ports import Directory
from engine.api.render import render_certificate, render_document_signer, render_iaca, render_request
from engine.api.schema.issued import CreatedRequest, DocumentSignerCertificate, GenericCertificate, IacaCertificate
from engine.api.schema.x509_service import (
    CreateRequest,
    DocumentSignerRequestMembers,
    GenericRequestMembers,
    IssueCertificate,
    IssueDocumentSigner,
    IssueIaca,
    hosted_path,
)
from engine.directory import Permission
from engine.issuance import IssuedCertificate


def x509_service_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls of an X.509 service that make something."""

    def create_request(call: Call[GenericRequestMembers | DocumentSignerRequestMembers]) -> object:
        service = directory.x509_service(call.target)
        key = call.members.subject_key_descriptor.value()
        return render_request(service.create_request(key, call.members.value(), call.caller))

    def issue_certificate(call: Call[IssueCertificate]) -> IssuedCertificate:
        members = call.members
        return directory.x509_service(call.target).issue_certificate(
            members.certificate_data.value(),
            members.subject_public_key_source.value(),
            members.issuer.value(),
            members.stored_certificate_id,
            call.caller,
        )

    def issue_iaca(call: Call[IssueIaca]) -> IssuedCertificate:
        members = call.members
        metadata = members.vical_entry_complementary_metadata
        return directory.x509_service(call.target).issue_iaca(
            members.certificate_data.value(),
            members.iaca_key_desc.value(),
            members.stored_certificate_id,
            None if metadata is None else metadata.value(),
            call.caller,
        )

    def issue_document_signer(call: Call[IssueDocumentSigner]) -> IssuedCertificate:
        members = call.members
        return directory.x509_service(call.target).issue_document_signer(
            members.certificate_data.value(),
            members.source(),
            members.iaca_signer.value(),
            members.stored_certificate_id,
            call.caller,
        )

    return [
        Operation(
            "POST",
            "/v1/{target}/x509-service-api/csrs",
            "Create a certification request, signed by the key it is for.",
            Permission.ISSUE,
            create_request,
            JsonBody[GenericRequestMembers | DocumentSignerRequestMembers](CreateRequest),
            response=CreatedRequest,
            signing_key=lambda members: hosted_path(members.subject_key_descriptor),
        ),
        Operation(
            "POST",
            "/v1/{target}/x509-service-api/certificate",
            "Issue a certificate, signed by a CA or by its own key.",
            Permission.ISSUE,
            issue_certificate,
            JsonBody[IssueCertificate](IssueCertificate),
            response=GenericCertificate,
            problems=frozenset({409, 422}),
            issues=True,
            render=render_certificate,
            signing_key=IssueCertificate.signing_key,
        ),
        Operation(
            "POST",
            "/v1/{target}/x509-service-api/iso/iacas",
            "Issue an IACA root certificate (ISO/IEC 18013-5).",
            Permission.ISSUE,
            issue_iaca,
            JsonBody[IssueIaca](IssueIaca),
            response=IacaCertificate,
            problems=frozenset({409, 422}),
            issues=True,
            render=render_iaca,
            signing_key=lambda members: hosted_path(members.iaca_key_desc),
        ),
        Operation(
            "POST",
            "/v1/{target}/x509-service-api/iso/document-signers",
            "Issue a document signer certificate under an IACA (ISO/IEC 18013-5).",
            Permission.ISSUE,
            issue_document_signer,
            JsonBody[IssueDocumentSigner](IssueDocumentSigner),
            response=DocumentSignerCertificate,
            problems=frozenset({409, 422}),
            issues=True,
            render=render_document_signer,
            signing_key=lambda members: hosted_path(members.iaca_signer.iaca_key_desc),
        ),
    ]
