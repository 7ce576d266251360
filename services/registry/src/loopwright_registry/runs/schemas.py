"""Requests and answers of the runs' own API."""

from pydantic import BaseModel, Field


class TokenIn(BaseModel):
    """The attempt's number, and the sha256 in hex of the token that its clients send."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    attempt: int = Field(ge=0, le=2**31 - 1)


class TokenOut(BaseModel):
    run_id: str
    attempt: int
