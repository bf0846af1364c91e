"""The Piccolo app: its name, its migrations, its tables."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig

from server.db.sql_migration import APP_NAME
from server.db.tables import TABLES

APP_CONFIG = AppConfig(
    app_name=APP_NAME,
    migrations_folder_path=Path(__file__).parent / "migrations",
    table_classes=list(TABLES),
)
