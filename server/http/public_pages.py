"""A page for a person who opens the hub's address in a browser."""

from __future__ import annotations

from importlib.metadata import version

from litestar import Response, get

from server.http.html import html_page

_LINKS = {
    "/openapi.json": "the HTTP interface (OpenAPI 3.1)",
    "/asyncapi.json": "the WebSocket (AsyncAPI 3.0)",
    "/problems": "what the codes of errors mean",
    "/healthz": "whether the process is alive",
    "/readyz": "whether it can serve",
}


@get("/", include_in_schema=False)
async def root() -> Response[str]:
    """What is here."""
    items = "".join(f'<li><a href="{path}">{path}</a>: {text}</li>\n' for path, text in _LINKS.items())
    body = f"<p>The hub is running. Its clients call it below <code>/api/</code>.</p>\n<ul>\n{items}</ul>"
    return html_page(f"IDE Orchestrator {version('ide-orchestrator')}", body)


PUBLIC_PAGES = [root]
