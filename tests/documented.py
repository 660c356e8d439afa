"""Holds what an engine answers against the OpenAPI document that it serves."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema_rs

JSON = "application/json"
PAGE = "/swagger"
"""Below it are the files of the page, which are not described one by one."""


@dataclass(frozen=True, slots=True)
class Documented:
    """An OpenAPI document."""

    document: Mapping[str, Any]

    def check(self, response: httpx.Response) -> None:
        """Raises AssertionError unless the call may end in this status with this body.

        What was sent is checked too: the document must not forbid what the engine takes.
        """
        request = response.request
        call = f"{request.method} {request.url.path}"
        operation = self._operation(request.method, request.url.path)
        if operation is None:
            known = response.status_code in {404, 405} or request.url.path.startswith(PAGE)
            assert known, f"{call} is not documented and answered {response.status_code}"
            return
        answer = self._resolved(operation["responses"].get(str(response.status_code)))
        if response.status_code == 304:
            return
        assert answer is not None, f"{call} answered {response.status_code}, which is not documented: {response.text}"
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in answer["content"], f"{call} answered {media_type}, which is not documented"
        for name, header in answer.get("headers", {}).items():
            if self._resolved(header).get("required"):
                assert name in response.headers, f"{call} answered without the documented header {name}"
        if media_type == JSON and request.method != "HEAD":
            self._check_json(answer["content"][JSON]["schema"], response.json(), f"the answer of {call}")
        if response.is_success and "requestBody" in operation:
            body = operation["requestBody"]
            if request.content.strip() or body["required"]:
                self._check_request(body["content"], request, call)

    def _check_request(self, content: Mapping[str, Any], request: httpx.Request, call: str) -> None:
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        assert media_type in content, f"{call} took {media_type!r}, which is not documented"
        if media_type == JSON:
            try:
                sent = json.loads(request.content, strict=False)
            except ValueError:
                return  # A bare path under this label is taken where some clients send it; no schema can say so.
            self._check_json(content[JSON]["schema"], sent, f"the body that {call} took")

    def _check_json(self, schema: Mapping[str, Any], value: object, what: str) -> None:
        try:
            _validator(json.dumps({**schema, "components": self.document["components"]})).validate(value)
        except jsonschema_rs.ValidationError as error:
            raise AssertionError(f"{what} does not satisfy its schema: {error}") from None

    def _operation(self, method: str, path: str) -> Mapping[str, Any] | None:
        for template, item in self.document["paths"].items():
            if _path(template).fullmatch(path):
                return item.get("get" if method == "HEAD" else method.lower())
        return None

    def _resolved(self, value: Any) -> Any:
        """What a `$ref` into this document stands for."""
        if not isinstance(value, Mapping) or "$ref" not in value:
            return value
        return functools.reduce(lambda place, name: place[name], value["$ref"].split("/")[1:], self.document)


@functools.lru_cache(maxsize=1024)
def _validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(schema), validate_formats=True)


@functools.cache
def _path(template: str) -> re.Pattern[str]:
    return re.compile(r"[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", template))))


@functools.lru_cache(maxsize=16)
def load_documented(octets: bytes) -> Documented:
    """The document in these octets."""
    return Documented(json.loads(octets))
