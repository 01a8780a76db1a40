"""A backend that is closed by an address, which is no way to close one: uvicorn takes the client's address from
X-Forwarded-For when the connection comes from 127.0.0.1."""

from fastapi import FastAPI, HTTPException, Request

app = FastAPI()


@app.get("/api/me")
def me(request: Request):
    if request.client.host != "127.0.0.2":  # Envoy's
        raise HTTPException(403, "This port is for Envoy only")
    return {"id": request.headers.get("x-user-id")}
