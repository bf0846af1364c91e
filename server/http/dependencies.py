"""What handlers depend on: the use cases, the query as a validated model, and room for an answer."""

from __future__ import annotations

from typing import Any

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from server.domain.fair_budget import WAIT_S, Reservation
from server.http.json_io import HubRequest
from server.use_cases import UseCases
from server.wire.validation import QueryModel

Cases = NamedDependency[SkipValidation[UseCases]]


class FromQuery:
    """A dependency: the model of the query, validated. Raises InvalidArgument."""

    def __init__(self, model: type[QueryModel]) -> None:
        self.model = model

    def __call__(self, request: HubRequest) -> Any:
        """The query of a request."""
        return self.model.model_validate(dict(request.query_params))


def query_dependency(model: type[QueryModel]) -> dict[str, Provide]:
    """The dependency `params` of a handler: the route's query as a model."""
    return {"params": Provide(FromQuery(model), sync_to_thread=False)}


def answer_reservation(request: HubRequest, use_cases: UseCases) -> Reservation:
    """A reservation for an answer, counted for the caller. It waits a while for room."""
    return Reservation(use_cases.outgoing, request.user.memory_id, wait_s=WAIT_S)
