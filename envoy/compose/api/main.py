"""An API that holds no key: who calls is what Envoy's headers say. It listens on a Unix socket that only Envoy can open."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, FastAPI, Header, HTTPException

app = FastAPI()


def current_user(
    x_user_id: Annotated[str | None, Header()] = None,
    x_user_email: Annotated[str | None, Header()] = None,
    x_user_name: Annotated[str | None, Header()] = None,
) -> dict[str, str]:
    if not x_user_id:
        raise HTTPException(401, "Not authenticated: Missing Authorization header")
    return {"id": unquote(x_user_id), "email": unquote(x_user_email or ""), "name": unquote(x_user_name or "")}


@app.get("/api/me")
def me(user: Annotated[dict[str, str], Depends(current_user)]) -> dict[str, str]:
    return user
