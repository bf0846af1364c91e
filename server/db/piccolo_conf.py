"""For Piccolo's own command line only: `PICCOLO_CONF=server.db.piccolo_conf piccolo migrations …`.

The server never imports this module. Piccolo imports it without arguments, so it reads `DATABASE_URL` from
the environment; without that, libpq's variables (`PGHOST`, …) apply.
"""

from __future__ import annotations

import os

from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine

from server.db.tables import TABLES

DB = PostgresEngine(config={"dsn": os.environ.get("DATABASE_URL")})
APP_REGISTRY = AppRegistry(apps=["server.db.piccolo_app"])

Migration._meta.db = DB
for table in TABLES:
    table._meta.db = DB
