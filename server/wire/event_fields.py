"""The fields that every serialised event begins with: `seq`, epoch and time."""

from __future__ import annotations

from datetime import datetime

from server.encoding.event_batch import DELIMITED, EVENT_KEY, SHORT_VARINTS, VARINT, field_key, varint
from server.wire import messages as m
from server.wire.text import set_time

_EVENT, _TIME = m.Event.DESCRIPTOR.fields_by_name, m.Timestamp.DESCRIPTOR.fields_by_name
SEQ_KEY, _EPOCH_KEY = (field_key(_EVENT[name].number, VARINT) for name in ("seq", "epoch"))
_TIME_KEY = field_key(_EVENT["create_time"].number, DELIMITED)
assert [field.name for field in m.Event.DESCRIPTOR.fields[:3]] == ["seq", "epoch", "create_time"]


def event_keys() -> dict[str, bytes]:
    """The keys of these fields and of an entry of an `EventBatch`, by the names of `server/compiled/rust`."""
    return {
        "entry": bytes((EVENT_KEY,)),
        "seq": SEQ_KEY,
        "epoch": _EPOCH_KEY,
        "create_time": _TIME_KEY,
        "seconds": field_key(_TIME["seconds"].number, VARINT),
        "nanos": field_key(_TIME["nanos"].number, VARINT),
    }


def shared_fields(epoch: int, time: datetime) -> bytes:
    """The fields between an event's `seq` and its kind, which events of one moment share."""
    timestamp = m.Timestamp()
    set_time(timestamp, time)
    moment = timestamp.SerializeToString()
    return _EPOCH_KEY + varint(epoch) + _TIME_KEY + SHORT_VARINTS[len(moment)] + moment
