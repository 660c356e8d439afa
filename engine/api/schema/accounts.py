"""The calls about accounts. Their members are spelt as the clients of this API spell them."""

from typing import Literal

from pydantic import Field, SecretStr

from engine.api.schema.model import Answer, Model


class LogIn(Model):
    """Open a session with an email and a password."""

    email: str
    password: SecretStr


class OpenedSession(Answer):
    """A session of an account."""

    session_id: str = Field(alias="session_id")
    """What the log calls the session; not secret."""
    status: Literal["OK"]
    token: str
    """Presented as `Authorization: Bearer …`, like an API key, until the session ends."""
