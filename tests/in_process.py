"""An HTTP client that calls an ASGI application in this process, from synchronous tests."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx
from starlette.types import ASGIApp


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

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def post_together(self, path: str, bodies: list[Any]) -> list[httpx.Response]:
        """Every body in a request of its own, all under way at once."""

        async def together() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.post(path, json=body) for body in bodies))

        return self._runner.run(together())
