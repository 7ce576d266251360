"""Prediction ids: `<uuid7>-v<version>-<mac>`, so that a forged or foreign id is told at once.

The MAC is under a key that the replicas share and covers the model, so an id counts only for the
model that answered. Row i of a request is `<id>.<i>`; the id alone means row 0.
"""

import hmac
import os
import re
import secrets
from hashlib import blake2b
from pathlib import Path

from loopwright_common.errors import InvalidError

_FORM = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-v(\d{1,9})-([0-9a-f]{8})(?:\.(\d{1,7}))?"
)
_KEY_BYTES = 32


class PredictionIds:
    """Makes and recognises the ids of one installation."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, unique: str, version: int, model_id: str) -> str:
        """The id of a request answered by a version; `unique` is a UUIDv7."""
        return f"{unique}-v{version}-{self._mac(unique, version, model_id)}"

    def row_id(self, text: str, model_id: str) -> str | None:
        """The row's id in its one form, or None when it is not ours or of another model."""
        found = _FORM.fullmatch(text)
        if not found:
            return None
        unique, version, mac, row = found.groups()
        if not hmac.compare_digest(mac, self._mac(unique, int(version), model_id)):
            return None
        return f"{unique}-v{int(version)}-{mac}.{int(row or 0)}"

    @staticmethod
    def has_form(text: str) -> bool:
        """Whether some scorer may have made it."""
        return _FORM.fullmatch(text) is not None

    def _mac(self, unique: str, version: int, model_id: str) -> str:
        covered = f"{model_id}|{unique}|{version}".encode()
        # Keyed BLAKE2 is a MAC by itself (RFC 7693), at a third of what HMAC costs.
        return blake2b(covered, key=self._key, digest_size=4).hexdigest()


def shared_key(text: str) -> bytes:
    """The key that all replicas are given; InvalidError unless it is 32 bytes in hex."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        raise InvalidError(
            f"LOOPWRIGHT_SCORER_PREDICTION_KEY: {len(text.strip())} characters are no key; give "
            f"{2 * _KEY_BYTES} hex digits, as `openssl rand -hex {_KEY_BYTES}` prints them",
            field="prediction_key",
        )
    return bytes.fromhex(text.strip())


def load_key(path: Path) -> bytes:
    """The key in the file; made at first start, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        temporary = path.with_suffix(f".{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, path)
    return path.read_bytes()


def _publish(temporary: Path, path: Path) -> None:
    # A link fails where a rename would replace a key that another process made meanwhile.
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
