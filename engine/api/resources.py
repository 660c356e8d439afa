"""`/v1/{target}/resource-api/…` and `/v1/{target}/x509-service-api/dependencies/…`: tenants, services and links.

The target is what is created, listed or deleted, or the X.509 service that something is attached to.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from engine.api.faults import load_model
from engine.api.fields import Path
from engine.api.json_body import check_content_type, load_json_object
from engine.api.operations import NO_BODY, Call, JsonBody, Operation
from engine.api.paging import PAGE, page
from engine.api.paths import check_path, shown
from engine.api.ports import Directory
from engine.api.schema.resources import (
    CreateKms,
    CreateService,
    CreateTenant,
    CreateX509Service,
    CreateX509Store,
    DeletedResource,
    DependencyAnswer,
    DependencyMembers,
    ResourceAnswer,
)
from engine.directory import Permission, Resource
from engine.errors import MalformedRequest

_RESOURCES = "/v1/{target}/resource-api"
_DEPENDENCIES = "/v1/{target}/x509-service-api/dependencies"
_JSON, _TEXT = "application/json", "text/plain"


class TenantBody:
    """A JSON object, or nothing at all, as many clients send it."""

    is_required = False
    _adapter = TypeAdapter(CreateTenant)

    def load(self, content_type: str | None, octets: bytes) -> CreateTenant:
        """Raises MalformedRequest."""
        if not octets.strip():
            return CreateTenant()
        if content_type is not None:
            check_content_type(content_type)
        return load_model(self._adapter, load_json_object(octets))

    def content(self) -> Mapping[str, TypeAdapter[Any]]:
        return {_JSON: self._adapter}


class DependencyBody:
    """A path: as the member of an object, as a JSON string, or bare; whichever its label says."""

    is_required = True
    _adapter = TypeAdapter(DependencyMembers)

    def load(self, content_type: str | None, octets: bytes) -> str:
        """Raises MalformedRequest."""
        media_type = _JSON if content_type is None else content_type.partition(";")[0].strip().lower()
        if media_type not in (_JSON, _TEXT):
            raise MalformedRequest(f"Expected Content-Type {_JSON} or {_TEXT}, found {shown(media_type)}.")
        octets = octets.strip()
        if octets.startswith(b"{"):
            return load_model(self._adapter, load_json_object(octets)).dependency
        path = _load_text(octets)
        check_path(path)
        return path

    def content(self) -> Mapping[str, TypeAdapter[Any]]:
        return {_JSON: TypeAdapter(DependencyMembers | Path), _TEXT: TypeAdapter(Path)}


def _load_text(octets: bytes) -> str:
    """A JSON string, or text as it is; bad octets become characters that no path has."""
    text = octets.decode("utf-8", "replace")
    if not text.startswith('"'):
        return text
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError:
        raise MalformedRequest("Expected a path as a JSON string, found one that does not end as such.") from None
    if not isinstance(value, str):
        raise MalformedRequest("Expected a path as a JSON string, found another JSON value.")
    return value


def resource_operations(directory: Directory) -> list[Operation[Any]]:
    """The calls that change and show the tree."""

    def create_tenant(call: Call[CreateTenant]) -> object:
        return render_resource(directory.create_tenant(call.target, name=call.members.name, by=call.caller))

    def create_service(call: Call[CreateKms | CreateX509Service | CreateX509Store]) -> object:
        members = call.members
        resource = directory.create_service(
            call.target,
            type=members.type,
            name=members.name,
            token=members.token if isinstance(members, CreateKms) else None,
            dependencies=(members.dependencies or ()) if isinstance(members, CreateX509Service) else (),
            by=call.caller,
            may_see=call.credential.may_use,
        )
        return render_resource(resource)

    def list_resources(call: Call[None]) -> object:
        limit, offset = page(call.parameters)
        found = directory.list_resources(call.target, limit, offset, call.credential.may_use)
        return [render_resource(resource) for resource in found]

    def delete_resource(call: Call[None]) -> object:
        directory.delete_resource(call.target, call.credential.may_use, call.caller)
        return {"_id": call.target}

    def add_dependency(call: Call[str]) -> object:
        directory.add_dependency(call.target, call.members, call.credential.may_use, call.caller)
        return {"_id": call.target, "dependency": call.members}

    def remove_dependency(call: Call[str]) -> object:
        directory.remove_dependency(call.target, call.members, call.credential.may_use, call.caller)
        return {"_id": call.target, "dependency": call.members}

    def list_dependencies(call: Call[None]) -> object:
        return list(directory.list_dependencies(call.target, call.credential.may_use))

    return [
        Operation(
            "POST",
            f"{_RESOURCES}/tenants/create",
            "Create a tenant.",
            Permission.MANAGE_RESOURCES,
            create_tenant,
            TenantBody(),
            status=201,
            response=ResourceAnswer,
            problems=frozenset({409}),
        ),
        Operation(
            "POST",
            f"{_RESOURCES}/services/create",
            "Create a KMS, an X.509 service or a certificate store.",
            Permission.MANAGE_RESOURCES,
            create_service,
            JsonBody[CreateKms | CreateX509Service | CreateX509Store](CreateService),
            status=201,
            response=ResourceAnswer,
            problems=frozenset({409}),
        ),
        Operation(
            "GET",
            f"{_RESOURCES}/resources/list",
            "List what is at and below a path, declared and created.",
            Permission.READ,
            list_resources,
            NO_BODY,
            response=list[ResourceAnswer],
            parameters=PAGE,
        ),
        Operation(
            "DELETE",
            f"{_RESOURCES}/resources/delete",
            "Delete a tenant or service that was created and has nothing below it.",
            Permission.MANAGE_RESOURCES,
            delete_resource,
            NO_BODY,
            status=202,
            response=DeletedResource,
        ),
        Operation(
            "POST",
            f"{_DEPENDENCIES}/add",
            "Attach a KMS or a certificate store to an X.509 service.",
            Permission.MANAGE_RESOURCES,
            add_dependency,
            DependencyBody(),
            status=201,
            response=DependencyAnswer,
            problems=frozenset({409}),
        ),
        Operation(
            "POST",
            f"{_DEPENDENCIES}/remove",
            "Detach a KMS or a certificate store from an X.509 service.",
            Permission.MANAGE_RESOURCES,
            remove_dependency,
            DependencyBody(),
            response=DependencyAnswer,
        ),
        Operation(
            "GET",
            f"{_DEPENDENCIES}/list",
            "List what is attached to an X.509 service.",
            Permission.READ,
            list_dependencies,
            NO_BODY,
            response=list[Path],
        ),
    ]


def render_resource(resource: Resource) -> dict[str, object]:
    """A resource; a list of dependencies is left out when it is empty."""
    parent = resource.path.rpartition(".")[0]
    answer: dict[str, object] = {"_id": resource.path, "type": resource.type}
    if parent:
        answer["parent"] = parent
    if resource.name is not None:
        answer["name"] = resource.name
    if resource.token is not None:
        answer["token"] = resource.token
    if resource.dependencies:
        answer["dependencies"] = list(resource.dependencies)
    answer["declared"] = resource.is_declared
    return answer
