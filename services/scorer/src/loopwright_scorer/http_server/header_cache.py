"""Heads of requests that were read before: a client sends the same bytes again and again."""

from loopwright_scorer.protocols.request import FastHandler

_END = b"\r\n\r\n"
_LONGEST = 2048
"""Bytes of a head that is worth remembering; with `_MOST` of them that is all the memory taken."""
_MOST = 1024


class HeaderCache:
    """What answers the bodies that come with each; equal bytes mean the same to any parser."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, FastHandler]] = {}

    def find(self, data: bytes) -> tuple[FastHandler, bytes] | None:
        """What answers, and the body, where `data` is a whole request with a known head."""
        end = data.find(_END) + len(_END)
        found = self._known.get(data[:end])
        if found is None or len(data) - end != found[0]:
            return None
        return found[1], data[end:]

    def keep(self, data: bytes, size: int, answer: FastHandler) -> None:
        """`data` is what came for a request whose body has `size` bytes.

        It is kept only where that is one whole request and no part of another: a body in chunks,
        for one, takes more bytes than it has.
        """
        end = data.find(_END) + len(_END)
        if not len(_END) <= end <= _LONGEST or len(data) - end != size:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[data[:end]] = (size, answer)
