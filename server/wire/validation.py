"""Request models: both interfaces check requests with the same model, which names all wrong fields at once.

Error texts never repeat a field's value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from server.domain.errors import InvalidArgument, NotFound
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.limits import limits_of

MAX_PATH = limits_of(m.SpecFile, "path").max_characters
MAX_SEQ = 0xFFFFFFFF
MAX_KEY = limits_of(m.StartRefinementRequest, "request_id").max_characters
#: Patterns of the OpenAPI document: text without U+0000, and text with something besides white space.
STORABLE_PATTERN = {"pattern": "^[^\\u0000]*$"}
NOT_BLANK_PATTERN = {"pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"}

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_SHAPE_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,10}")
#: How many unknown fields an error names, and how many characters of each name it shows.
_MAX_UNKNOWN, _MAX_UNKNOWN_CHARS = 20, 100

_TEXTS = {
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_unicode": "must not hold lone surrogates",
    "string_type": "must be a string",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "is not a field of this request",
    "enum": "must be one of {expected}",
}


class RequestModel(BaseModel):
    """A request. Its fields are validated, and described in the OpenAPI document, where they are declared."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @classmethod
    def model_validate(cls, obj: Any, **_: Any) -> Self:
        """The request of JSON values. Raises InvalidArgument, which names every wrong field."""
        if not isinstance(obj, Mapping):
            raise InvalidArgument({"body": "must be a JSON object"})
        unknown = [name for name in obj if name not in cls.model_fields]
        # Further ones are not named: an object may have a hundred thousand members.
        left_out = frozenset(unknown[_MAX_UNKNOWN + 1 :])
        members = ((name, value) for name, value in obj.items() if name not in left_out)
        try:
            return super().model_validate({replace_surrogates(str(name)): value for name, value in members})
        except ValidationError as error:
            fields = _field_errors(cls, error.errors(include_url=False))
        raise InvalidArgument(fields)


class QueryModel(RequestModel):
    """A query. Unknown members are ignored."""

    model_config = ConfigDict(extra="ignore")


def _field_errors(model: type[BaseModel], errors: Iterable[ErrorDetails]) -> dict[str, str]:
    wrong: dict[str, str] = {}
    unknown = 0
    for error in errors:
        name = str(error["loc"][0])
        if error["type"] == "extra_forbidden":
            unknown += 1
            name = name[:_MAX_UNKNOWN_CHARS]
            if unknown > _MAX_UNKNOWN:
                continue
        wrong.setdefault(name, _text(model, name, error))
    return wrong


def _text(model: type[BaseModel], name: str, error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "string_type" and error["input"] is None:
        return _TEXTS["missing"]
    if kind in ("int_type", "greater_than_equal", "less_than_equal"):
        return _range_text(model, name)
    if kind in _TEXTS:
        return _TEXTS[kind].format_map(error.get("ctx", {})).replace("'", "").replace(" or ", ", ")
    return error["msg"]


@lru_cache
def _range_text(model: type[BaseModel], name: str) -> str:
    schema = model.model_json_schema()["properties"][name]
    number = next(each for each in (schema, *schema.get("anyOf", ())) if "minimum" in each)
    return f"must be a whole number from {number['minimum']} to {number['maximum']}"


def field_error(text: str) -> PydanticCustomError:
    """The error for a validator to raise. The text says what is wrong with a field."""
    return PydanticCustomError("field_error", "{text}", {"text": text})


def _check_not_blank(text: str) -> str:
    if not text.strip():
        raise field_error("must not be empty")
    return text


def character_error(text: str) -> str | None:
    """What is wrong with a text's characters, which jsonb and UTF-8 must be able to hold; None if nothing."""
    if "\0" in text:
        return "must not hold U+0000"
    if replace_surrogates(text) is not text:
        return "must not hold lone surrogates"
    return None


def _check_characters(text: str) -> str:
    wrong = character_error(text)
    if wrong is not None:
        raise field_error(wrong)
    return text


def _whole_number(value: object) -> object:
    # To JSON, 60.0 is as whole as 60.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digits(value: object) -> object:
    if not isinstance(value, str):
        return value
    # The type of a wrong number in JSON, so that the text names the range.
    if not _DIGITS.fullmatch(value):
        raise PydanticCustomError("int_type", "not a whole number")
    return int(value)


def _uuid(value: object) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise field_error("must be a UUID")
    return UUID(value)


#: Validators. They come after `Field(…)`, so that its bounds are checked first and are in the document.
STORABLE = AfterValidator(_check_characters)
NOT_BLANK = AfterValidator(_check_not_blank)
#: A whole number in a JSON body, a whole number in a query, and an id in a query.
WHOLE_NUMBER = BeforeValidator(_whole_number)
DIGITS = BeforeValidator(_digits)
UUID_TEXT = BeforeValidator(_uuid)


@contextmanager
def renamed_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Rename the wrong fields of InvalidArgument: `names` maps the model's to another interface's."""
    try:
        yield
    except InvalidArgument as error:
        fields = {names.get(name, name): wrong for name, wrong in error.fields.items()}
        raise type(error)(fields) from None


def uuid_or_not_found(text: object, what: str) -> UUID:
    """The id. Raises NotFound for a text that is not a UUID in its usual form: it identifies nothing."""
    if isinstance(text, str) and _UUID.fullmatch(text):
        return UUID(text)
    raise NotFound(f"no such {what}")


def sha256_or_not_found(text: str, what: str) -> str:
    """The hash in lower-case hex. Raises NotFound for a text that is not a SHA-256: it identifies nothing."""
    if _SHA256.fullmatch(text):
        return text.lower()
    raise NotFound(f"no such {what}")


def shape_id_or_not_found(text: str) -> str:
    """The id. Raises NotFound for a text that cannot be the id of a shape."""
    if _SHAPE_ID.fullmatch(text):
        return text
    raise NotFound("no such shape")


def idempotency_key(text: str | None, name: str) -> str | None:
    """The checked key; None without one. Raises InvalidArgument."""
    if text is None:
        return None
    if not 1 <= len(text) <= MAX_KEY or not all("!" <= character <= "~" for character in text):
        raise InvalidArgument({name: f"must be 1 to {MAX_KEY} visible ASCII characters"})
    return text
