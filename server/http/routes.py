"""All routes.

A guard of the application checks that a request has a token, and UUIDs in its address, except for the public
routes (`server.http.authentication`).
"""

from __future__ import annotations

from server.http.access_routes import ACCESS_ROUTES
from server.http.agui_routes import AGUI_ROUTES
from server.http.comparison_routes import COMPARISON_ROUTES
from server.http.draft_routes import DRAFT_ROUTES
from server.http.durable_streams import DURABLE_STREAM_ROUTES
from server.http.file_history_routes import FILE_HISTORY_ROUTES
from server.http.info_routes import INFO_ROUTES
from server.http.probes import health, legacy_health, metrics, ready
from server.http.problem_pages import PROBLEM_PAGES
from server.http.proposal_routes import PROPOSAL_ROUTES
from server.http.public_pages import PUBLIC_PAGES
from server.http.quarantine_routes import QUARANTINE_ROUTES
from server.http.refinement_routes import REFINEMENT_ROUTES
from server.http.review_routes import REVIEW_ROUTES
from server.http.user_routes import USER_ROUTES
from server.http.webhook_routes import WEBHOOK_ROUTES
from server.http.workflow_routes import WORKFLOW_ROUTES

ROUTES = (
    *WORKFLOW_ROUTES,
    *DRAFT_ROUTES,
    *PROPOSAL_ROUTES,
    *COMPARISON_ROUTES,
    *REVIEW_ROUTES,
    *ACCESS_ROUTES,
    *REFINEMENT_ROUTES,
    *DURABLE_STREAM_ROUTES,
    *AGUI_ROUTES,
    *FILE_HISTORY_ROUTES,
    *WEBHOOK_ROUTES,
    *QUARANTINE_ROUTES,
    *USER_ROUTES,
    *INFO_ROUTES,
    *PUBLIC_PAGES,
    *PROBLEM_PAGES,
    health,
    legacy_health,
    ready,
    metrics,
)
