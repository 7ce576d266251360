"""The description of each model and a page to try it: /models/{model}/openapi.json and /docs."""

from functools import cache
from importlib.resources import files

from loopwright_common.errors import NotFoundError
from loopwright_scorer.protocols.base import FastHandler, Reply, json_reply
from loopwright_scorer.protocols.model_address import ModelAddress, parse_address
from loopwright_scorer.protocols.openapi.document import document
from loopwright_scorer.protocols.request import Headers, HttpRequest
from loopwright_scorer.routing.routes import Routes

_DESCRIPTION, _PAGE = "/openapi.json", "/docs"
_HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline'"),
)


class OpenApiProtocol:
    """Serves the two pages of each model; nothing on them comes from elsewhere."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    fast_endings = ()

    def claims(self, path: str) -> bool:
        return path.startswith("/models/") and path.endswith((_DESCRIPTION, _PAGE))

    def refuse(self, status: int, reason: str) -> Reply:
        return json_reply({"error": reason}, status)

    def fast_handler(self, path: str, headers: Headers) -> FastHandler | None:  # noqa: ARG002
        return None

    async def reply(self, request: HttpRequest) -> Reply:
        request.require_method("GET")
        base, _, page = request.path.rpartition("/")
        route, arm = _address(base).find(self._routes)
        if page == _PAGE[1:]:
            return Reply(200, _page(), _HTML)
        return json_reply(document(route, arm, base))


def _address(base: str) -> ModelAddress:
    match base.split("/")[2:]:
        case [model]:
            return parse_address(model)
        case [model, "versions", number]:
            return parse_address(model, number)
    raise NotFoundError(f"no {base:.200}; a model has /models/<model>/docs and /openapi.json")


@cache
def _page() -> bytes:
    return files(__package__).joinpath("docs.html").read_bytes()
