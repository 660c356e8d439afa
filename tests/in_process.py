"""An HTTP client that calls the application in this process, and holds every answer against its OpenAPI document."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx
from starlette.types import ASGIApp

from tests.documented import load_documented


class InProcessClient:
    """httpx over the ASGI transport, on an event loop of its own. Use as a context manager."""

    def __init__(self, application: ASGIApp, headers: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url="http://engine.test", headers=headers
        )

    def __enter__(self) -> "InProcessClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def request(self, method: str, path: str, *, documented: bool = True, **options: Any) -> httpx.Response:
        """Not `documented`: the engine takes a body that the document does not describe, for clients that send it."""
        response = self._runner.run(self._client.request(method, path, **options))
        if documented:
            self._check(response)
        return response

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def post_together(self, path: str, bodies: list[Any]) -> list[httpx.Response]:
        """Every body in a request of its own, all under way at once."""

        async def together() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.post(path, json=body) for body in bodies))

        responses = self._runner.run(together())
        for response in responses:
            self._check(response)
        return responses

    def _check(self, response: httpx.Response) -> None:
        document = self._runner.run(self._client.get("/openapi.json", headers={"authorization": ""}))
        load_documented(document.content).check(response)
