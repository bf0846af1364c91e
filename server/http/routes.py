"""All routes.

Every route needs a token, and UUIDs in its address: two guards of the application check that
(`server.http.authentication`).
"""

from __future__ import annotations

from server.http.access_routes import ACCESS_ROUTES
from server.http.probes import health, legacy_health, metrics, ready
from server.http.proposal_routes import PROPOSAL_ROUTES
from server.http.refinement_routes import REFINEMENT_ROUTES
from server.http.workflow_routes import WORKFLOW_ROUTES

ROUTES = [
    *WORKFLOW_ROUTES,
    *PROPOSAL_ROUTES,
    *ACCESS_ROUTES,
    *REFINEMENT_ROUTES,
    health,
    legacy_health,
    ready,
    metrics,
]
