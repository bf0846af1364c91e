"""For Piccolo's own command line alone: `PICCOLO_CONF=server.db.piccolo_conf piccolo migrations …`.

The server never imports it. Piccolo imports a module and takes no arguments, so this one reads
`DATABASE_URL` from the environment itself; without it, libpq's variables (`PGHOST`, …) hold.
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
