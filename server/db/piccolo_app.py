"""The Piccolo app: its name, its migrations, its tables."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig

from server.db.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="ide_orchestrator",
    migrations_folder_path=Path(__file__).parent / "migrations",
    table_classes=list(TABLES),
)
