"""The check as FastAPI backends do it themselves: PyJWT with the issuer's JWKS, then the shared secret, then the session table."""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship
from sqlalchemy.types import DateTime

ISSUER = os.environ["BETTER_AUTH_URL"]
AUDIENCE = os.environ["API_AUDIENCE"]
SECRET = os.environ["BETTER_AUTH_SECRET"]

app = FastAPI()
bearer = HTTPBearer()
keys = jwt.PyJWKClient(ISSUER + "/api/auth/jwks", cache_keys=True, lifespan=3600)
sessions = async_sessionmaker(create_async_engine(os.environ["DATABASE_URL"]), expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class Session(Base):
    __tablename__ = "session"
    id: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column("expiresAt", DateTime(timezone=True))
    user_id: Mapped[str] = mapped_column("userId", ForeignKey("user.id"))
    user: Mapped[User] = relationship()


async def database() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


async def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    db: Annotated[AsyncSession, Depends(database)],
) -> dict:
    token = credentials.credentials
    try:
        key = keys.get_signing_key_from_jwt(token)
        return jwt.decode(token, key.key, algorithms=["EdDSA", "RS256"], audience=AUDIENCE, issuer=ISSUER, leeway=60)
    except jwt.ExpiredSignatureError:
        raise HTTPException(401, "Token has expired")
    except jwt.PyJWTError:
        pass
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWTError:
        pass
    found = await db.execute(select(Session).options(joinedload(Session.user)).where(Session.token == token.split(".")[0]))
    session = found.scalar_one_or_none()
    if session is None:
        raise HTTPException(401, "Invalid token")
    if session.expires_at < datetime.now(timezone.utc):
        raise HTTPException(401, "Token has expired")
    return {"sub": session.user.id, "email": session.user.email, "name": session.user.name}


@app.get("/api/me")
async def me(user: Annotated[dict, Depends(current_user)]) -> dict:
    return {"id": user["sub"]}


@app.get("/nothing")
async def nothing() -> dict:
    return {"id": None}
