"""The page of a service's API for people: no scripts, and nothing from anywhere else."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
_METHODS = ("get", "post", "put", "patch", "delete")


def docs_page(openapi: Mapping[str, Any]) -> HTMLResponse:
    """Every operation of an OpenAPI document with what it says of itself."""
    title = escape(openapi["info"]["title"])
    body = "".join(_operations(openapi["paths"]))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        f'<p><a href="openapi.json">openapi.json</a></p>{body}</html>'
    )
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, item in paths.items():
        for method in (method for method in _METHODS if method in item):
            operation = item[method]
            says = operation.get("description") or operation.get("summary") or ""
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(says)}</p>"
