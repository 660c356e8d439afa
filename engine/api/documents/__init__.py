"""`/openapi.json` and the Swagger UI page at `/swagger/`. No credential needed; nothing here is secret.

Everything is read once and kept; what is asked for is looked up by its name among what there is, never on the disk.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.api.openapi import JSON, OpenAnswer, OpenCall
from engine.errors import NotFound

_FOLDER = Path(__file__).resolve().parent
_HTML, _SCRIPT, _STYLE, _PNG = "text/html", "text/javascript", "text/css", "image/png"
_FILES: Mapping[str, tuple[Path, str]] = {
    "index.html": (_FOLDER / "index.html", _HTML),
    "start.js": (_FOLDER / "start.js", _SCRIPT),
    "swagger-ui-bundle.js": (_FOLDER / "swagger-ui" / "swagger-ui-bundle.js", _SCRIPT),
    "swagger-ui.css": (_FOLDER / "swagger-ui" / "swagger-ui.css", _STYLE),
    "favicon-32x32.png": (_FOLDER / "swagger-ui" / "favicon-32x32.png", _PNG),
}
_HEADERS: Mapping[str, str] = {
    "cache-control": "no-cache",
    # Nothing but this server's own files; the page's library sets styles on elements and draws with data: images.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

DOCUMENT_CALLS = (
    OpenCall("GET", "/openapi.json", "documents", "This document.", {200: OpenAnswer("An OpenAPI 3.1 document.")}),
    OpenCall(
        "GET", "/swagger/", "documents", "A page to read and try the API.", {200: OpenAnswer("A page.", None, _HTML)}
    ),
)


class _Document:
    """Octets that do not change while the process lives."""

    def __init__(self, octets: bytes, media_type: str) -> None:
        self._octets = octets
        self._media_type = media_type
        self._tag = f'"{hashlib.sha256(octets).hexdigest()}"'

    def answer(self, request: Request) -> Response:
        """The octets, or 304 for a client that has them (RFC 9110 section 13.1.2)."""
        headers = {**_HEADERS, "etag": self._tag}
        presented = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self._tag in presented or presented == ["*"]:
            return Response(status_code=304, headers=headers)
        return Response(self._octets, 200, headers, self._media_type)


def document_routes(document: Mapping[str, object]) -> list[Route]:
    """The routes of the OpenAPI document and of the page that shows it."""
    openapi = _Document(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), JSON)
    files = {name: _Document(path.read_bytes(), media_type) for name, (path, media_type) in _FILES.items()}

    async def read_openapi(request: Request) -> Response:
        return openapi.answer(request)

    async def read_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise NotFound("There is no such file of the page.")
        return files[name].answer(request)

    async def redirect(request: Request) -> Response:
        return RedirectResponse("swagger/", 308)

    return [
        Route("/openapi.json", read_openapi, methods=["GET"]),
        Route("/swagger", redirect, methods=["GET"]),
        Route("/swagger/", read_file, methods=["GET"]),
        Route("/swagger/{name}", read_file, methods=["GET"]),
    ]
