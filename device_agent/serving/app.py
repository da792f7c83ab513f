"""The ASGI application: the guard in front, then three routes."""

import logging
import time
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from device_agent.agent import AsyncAgent
from device_agent.serving.chat import ChatCompletions, send_problem
from device_agent.serving.connection import Sender
from device_agent.serving.conversation import MODELS
from device_agent.serving.guard import Guard
from device_agent.serving.places import Places
from device_agent.serving.problems import Problem

__all__ = ["Serving", "application"]

log = logging.getLogger(__name__)

EXPOSED: Final = (
    *("x-lanai-source", "x-lanai-decision", "x-lanai-stage", "x-lanai-trace-id"),
    *("x-lanai-node", "x-lanai-evidence", "x-lanai-error", "x-request-id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How one server is set up. ``most_bytes``: of one request's body."""

    guard: Guard
    most_requests: int = 8
    most_bytes: int = 4 * 1024 * 1024


def application(agent: AsyncAgent, serving: Serving, places: Places | None = None) -> ASGIApp:
    """The application over ``agent``, which stays its caller's to close."""
    places = places or Places(serving.most_requests)
    routes = [
        Route(
            "/v1/chat/completions",
            ChatCompletions(agent, places, most_bytes=serving.most_bytes),
            methods=["POST"],
        ),
        Route("/v1/models", _Models().every),
        Route("/v1/models/{name}", _Models().one),
        Route("/health", _Health(agent, places).look),
    ]
    allowed = sorted(serving.guard.origins)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=allowed,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
        expose_headers=EXPOSED,
    )
    app = Starlette(
        routes=routes,
        middleware=[cors] if allowed else [],
        exception_handlers={HTTPException: _no_route, Exception: _fault},
    )
    return _Guarded(app, serving.guard)


class _Guarded:
    """Outermost, so that nothing is answered to those who may not speak."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            problem = self._guard.judge(Headers(scope=scope), method=scope["method"])
            if problem is not None:
                await send_problem(problem, Sender(send))
                return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001  a fault of ours: its words could hold content
            # The client has its 500 already; uvicorn would write the whole traceback to the log.
            log.error("a fault in the server: %s", type(error).__name__)  # noqa: TRY400


class _Models:
    def __init__(self) -> None:
        self._created = int(time.time())

    async def every(self, _: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [self._model(name) for name in MODELS]})

    async def one(self, request: Request) -> JSONResponse:
        name = request.path_params["name"]
        return JSONResponse(self._model(name)) if name in MODELS else _not_found()

    def _model(self, name: str) -> dict[str, object]:
        mode = MODELS[name]
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "lanai",
            "lanai": {"mode": mode.value if mode else None},
        }


class _Health:
    """200 when device or cloud can answer, else 503; with the parts as `lanai available` has."""

    def __init__(self, agent: AsyncAgent, places: Places) -> None:
        self._agent = agent
        self._places = places

    async def look(self, _: Request) -> JSONResponse:
        state = await self._agent.availability()
        told = {"status": "ok" if state else "unavailable", "running": self._places.taken}
        return JSONResponse(told | state.to_json_dict(), status_code=200 if state else 503)


async def _no_route(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _refuse(405, "method_not_allowed", "this path takes another method")
    return _not_found()


async def _fault(_: Request, __: Exception) -> JSONResponse:
    """A fault of ours: what it says could hold content, so nothing of it is sent."""
    return _refuse(500, "internal", "the server made an error")


def _not_found() -> JSONResponse:
    return _refuse(404, "not_found", "there is nothing at this path")


def _refuse(status: int, code: str, message: str) -> JSONResponse:
    problem = Problem(status=status, type="invalid_request_error", code=code, message=message)
    return JSONResponse(problem.to_json_dict(), status_code=status, headers=problem.headers())
