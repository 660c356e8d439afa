"""`/health/live` and `/health/ready`: whether the process answers, and whether it could sign. No credential needed."""

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.api.openapi import OpenAnswer, OpenCall
from engine.api.ports import Directory
from engine.api.render import json_response
from engine.api.schema.health import Alive, Readiness

HEALTH_CALLS = (
    OpenCall("GET", "/health/live", "health", "Whether the process answers.", {200: OpenAnswer("It does.", Alive)}),
    OpenCall(
        "GET",
        "/health/ready",
        "health",
        "Whether the engine could sign.",
        {200: OpenAnswer("Every part is ready.", Readiness), 503: OpenAnswer("A part is not ready.", Readiness)},
    ),
)


def health_routes(directory: Directory) -> list[Route]:
    """Live: 200 always. Ready: 200 when every part says `ready`, else 503; both list what the parts say."""
    # One thread that is not one of the engine's: a token that hangs takes no place from requests, and probes that
    # come faster than it answers wait for each other.
    probe = anyio.CapacityLimiter(1)

    async def live(request: Request) -> Response:
        return json_response(200, {"status": "alive"})

    async def ready(request: Request) -> Response:
        states = await run_sync(directory.states, limiter=probe)
        is_ready = all(state == "ready" for state in states.values())
        body = {"status": "ready" if is_ready else "not ready", "parts": dict(states)}
        return json_response(200 if is_ready else 503, body)

    return [Route("/health/live", live, methods=["GET"]), Route("/health/ready", ready, methods=["GET"])]
