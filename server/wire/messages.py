"""The contract's messages: `from server.wire import messages as m`, and `m.Event` is a message while
`Event` is a domain value.

This is the only place that names the generated modules. They export only their messages and enums.
"""

# ruff: noqa: F403

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct as Struct
from google.protobuf.timestamp_pb2 import Timestamp as Timestamp

from ide_orchestrator.v1.access_pb2 import *
from ide_orchestrator.v1.draft_pb2 import *
from ide_orchestrator.v1.event_pb2 import *
from ide_orchestrator.v1.info_pb2 import *
from ide_orchestrator.v1.limits_pb2 import Limits as Limits
from ide_orchestrator.v1.limits_pb2 import limits as limits
from ide_orchestrator.v1.problem_pb2 import *
from ide_orchestrator.v1.proposal_pb2 import *
from ide_orchestrator.v1.quarantine_pb2 import *
from ide_orchestrator.v1.refinement_pb2 import *
from ide_orchestrator.v1.review_pb2 import *
from ide_orchestrator.v1.user_pb2 import *
from ide_orchestrator.v1.webhook_pb2 import *
from ide_orchestrator.v1.workflow_pb2 import *
