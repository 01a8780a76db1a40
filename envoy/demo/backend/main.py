"""A FastAPI backend that holds no key: who calls is what Envoy's headers say.

That is safe because nobody but Envoy can reach it: it is served at a Unix socket, in a folder that only Envoy enters,

    uvicorn main:app --uds /run/backend/backend.sock

and it refuses whatever comes by TCP, should somebody forget --uds. No header of a request changes that: neither
X-Forwarded-For nor any other names the socket.
"""

from itertools import count
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel

app = FastAPI()


class OnlyUnixSocket:
    """Refuses what came by TCP. ASGI's "server" is [path, None] for a Unix socket and [host, port] otherwise."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        path, port = scope.get("server") or ("", 0)
        if scope["type"] in ("http", "websocket") and (port is not None or not path.startswith("/")):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            response = JSONResponse({"detail": "This backend is for Envoy only"}, status_code=403)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


app.add_middleware(OnlyUnixSocket)


class User(BaseModel):
    id: str
    email: str | None
    name: str | None
    created_at: int | None  # the token's iat, in seconds; a session has none


def current_user(request: Request) -> User:
    def header(name: str) -> str | None:
        value = request.headers.get(name)
        return None if value is None else unquote(value)

    user_id = header("x-user-id")
    if not user_id:
        raise HTTPException(401, "Not authenticated: Missing Authorization header")
    issued_at = header("x-auth-issued-at")  # JWT only
    return User(
        id=user_id,
        email=header("x-user-email"),
        name=header("x-user-name"),
        created_at=int(issued_at) if issued_at else None,
    )


@app.get("/api/auth/me")
@app.get("/api/me")
def me(user: Annotated[User, Depends(current_user)]) -> User:
    return user


@app.post("/api/notes", status_code=201)
def add_note(user: Annotated[User, Depends(current_user)]) -> dict[str, str]:
    """Something that changes state, for the cross-site rule."""
    return {"owner": user.id}


payments = count(1)


@app.post("/api/payments", status_code=201)
def pay(user: Annotated[User, Depends(current_user)]) -> dict[str, str | int]:
    """Something that must not be done twice: each call has a serial of its own."""
    return {"payer": user.id, "serial": next(payments)}


@app.get("/api/headers")
def headers(request: Request) -> list[tuple[str, str]]:
    """All headers that reached the backend, as they came."""
    return [(name, value) for name, value in request.headers.items()]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.websocket("/api/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    await socket.send_text(socket.headers.get("x-user-id", "nobody"))
    async for message in socket.iter_text():
        await socket.send_text(message)
