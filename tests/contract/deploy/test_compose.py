"""compose.yaml, as far as it can be tried without an engine: its settings, its commands, its ports."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from server.cli.main import main as commands
from server.settings.settings import Settings
from tests.contract.deploy.manifests import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "ide-orchestrator"]


def test_the_hub_starts_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["hub"]["environment"].items():
        # ${NAME:-default}
        default = value.partition(":-")[2].removesuffix("}") if value.startswith("${") else value
        monkeypatch.setenv(name, default)
    settings = Settings()
    assert settings.wakeup_url is not None
    assert SERVICES["migrate"]["environment"] == SERVICES["hub"]["environment"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_the_image_runs_a_command_that_exists(name: str) -> None:
    command, *arguments = SERVICES[name]["command"]
    found = commands.commands[command]
    # Parsing fails on an unknown option or subcommand.
    found.make_context(command, arguments)


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:8080:8080", "127.0.0.1:50051:50051"]


def test_a_service_waits_for_what_it_needs() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            healthy = condition["condition"] == "service_healthy"
            assert ("healthcheck" in SERVICES[name]) == healthy
    assert {"migrate", "valkey"} == SERVICES["hub"]["depends_on"].keys()
