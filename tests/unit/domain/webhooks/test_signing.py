"""Signatures, checked with a library of others."""

from __future__ import annotations

import time
from base64 import b64decode
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from server.domain.webhooks.signing import SECRET_BYTES, new_secret, shown_secret, signed_headers

BODY = '{"a":"é"}'.encode()


def test_a_call_is_verified_with_each_secret_that_signed_it_and_no_other() -> None:
    newest, previous, other = new_secret(), new_secret(), new_secret()
    headers = dict(signed_headers(uuid4(), int(time.time()), BODY, (newest, previous)))
    for secret in (newest, previous):
        assert Webhook(shown_secret(secret)).verify(BODY, headers) == {"a": "é"}
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(other)).verify(BODY, headers)
    assert headers["webhook-signature"].count("v1,") == 2


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_that_is_signed_can_be_changed(changed: str) -> None:
    secret, now = new_secret(), int(time.time())
    headers = dict(signed_headers(uuid4(), now, BODY, (secret,)))
    body = BODY + b" " if changed == "body" else BODY
    if changed != "body":
        headers[changed] = str(now - 1) if changed == "webhook-timestamp" else str(uuid4())
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(secret)).verify(body, headers)


def test_secrets_are_random_and_of_the_standards_form() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    shown = shown_secret(secrets.pop())
    assert shown.startswith("whsec_")
    assert len(b64decode(shown.removeprefix("whsec_"), validate=True)) == SECRET_BYTES
