"""Whom a form trusts: published vectors of signatures, and everything that must not verify."""

import base64
import re
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bridge.generate.form_models import Scheme, plain_scheme
from helpdesk.http.gateway import Call
from helpdesk.http.signatures import refusal, verification

SCHEME: TypeAdapter[Scheme] = TypeAdapter(Scheme)
NOW = 1763716364.0
BODY = b'{"event_type":"form_response","n":1}'

GITHUB = {"scheme": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256="}
SLACK = {
    "scheme": "hmac",
    "header": "X-Slack-Signature",
    "prefix": "v0=",
    "signed": "v0:{timestamp}:{body}",
    "timestamp": {"header": "X-Slack-Request-Timestamp"},
}
TIMED = {
    "scheme": "hmac",
    "header": "X-Signature",
    "prefix": "sha256=",
    "signed": "{timestamp}.{body}",
    "timestamp": {"header": "X-Timestamp", "window_s": 300},
}
# By `openssl dgst -sha256 -hmac form-secret` over BODY, and over "1763716364." and BODY.
SIGNED = "sELQODZ5AgYS98n2z5mTY0KuFd+8G94pfjxJqzj22wA="
TIMED_SIGNED = "2e002d255908737adc6cb81ecceae8e1898a6e3888193f746973b9384e93744b"

SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


def code_of(
    scheme: Mapping[str, Any],
    headers: Mapping[str, str],
    raw: bytes = BODY,
    *secrets: str,
    now: float = NOW,
    path_secret: str | None = None,
) -> str | None:
    lowered = {name.lower(): value for name, value in headers.items()}
    call = Call(lowered, raw, path_secret)
    checked = verification(plain_scheme(SCHEME.validate_python(scheme)))
    return refusal(checked, secrets or ("form-secret",), call, now)


def timed(signature: str = TIMED_SIGNED, timestamp: str = "1763716364") -> dict[str, str]:
    return {"X-Signature": f"sha256={signature}", "X-Timestamp": timestamp}


# ── published vectors ────────────────────────────────────────────────────────────────────────────────────


def test_githubs_published_vector_verifies() -> None:
    headers = {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }
    assert code_of(GITHUB, headers, b"Hello, World!", "It's a Secret to Everybody") is None


def test_slacks_published_vector_verifies() -> None:
    headers = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    assert code_of(SLACK, headers, SLACK_BODY, secret, now=1531420618) is None
    assert code_of(SLACK, headers, SLACK_BODY, secret, now=NOW) == "timestamp_outside_window"


def test_the_published_vector_of_standard_webhooks_verifies() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,BBBB",
    }
    scheme = {"scheme": "standard_webhooks"}
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    assert code_of(scheme, headers, body, secret, now=1614265330) is None
    assert (
        code_of(scheme, {**headers, "webhook-id": "msg_2"}, body, secret, now=1614265330) == "wrong_signature"
    )


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        ("typeform", {"Typeform-Signature": f"sha256={SIGNED}"}),
        ("tally", {"Tally-Signature": SIGNED}),
    ],
)
def test_a_services_signature_verifies_in_its_documented_form(scheme: str, header: dict[str, str]) -> None:
    assert code_of({"scheme": scheme}, header) is None


def test_other_algorithms_encodings_and_places_verify() -> None:
    sha1 = {"scheme": "hmac", "header": "X-Sig", "algorithm": "sha1"}
    in_one = {
        "scheme": "hmac",
        "header": "X-Sig",
        "prefix": "v1=",
        "signed": "{timestamp}.{body}",
        "timestamp": {"key": "t"},
    }
    assert code_of(sha1, {"X-Sig": "acb003956172b207193f94fc7fd77e6ee652d9d0"}) is None
    assert code_of(in_one, {"X-Sig": f"t=1763716364,v1={TIMED_SIGNED},v0=00"}) is None
    assert code_of(in_one, {"X-Sig": f"v1={TIMED_SIGNED}"}) == "timestamp_missing"


# ── what does not verify ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", range(len(BODY)))
def test_one_flipped_bit_is_refused(place: int) -> None:
    flipped = bytearray(BODY)
    flipped[place] ^= 1
    assert code_of({"scheme": "tally"}, {"Tally-Signature": SIGNED}, bytes(flipped)) == "wrong_signature"


@pytest.mark.parametrize(
    "given",
    [
        SIGNED[:-4],
        "A" + SIGNED[1:],
        base64.b64decode(SIGNED).hex(),
        f"sha256={SIGNED}",
        "====",
        "Ünlesbar",
        "sha256=",
        " ",
    ],
)
def test_a_signature_that_is_not_quite_right_is_refused(given: str) -> None:
    assert code_of({"scheme": "tally"}, {"Tally-Signature": given}) == "wrong_signature"


@pytest.mark.parametrize("scheme", [{"scheme": "typeform"}, {"scheme": "tally"}, TIMED])
def test_a_missing_or_empty_header_is_refused(scheme: dict[str, Any]) -> None:
    assert code_of(scheme, {}) == "signature_missing"
    assert code_of(scheme, {"Typeform-Signature": "", "Tally-Signature": "", "X-Signature": ""}) == (
        "signature_missing"
    )


def test_another_forms_secret_is_refused() -> None:
    assert (
        code_of({"scheme": "tally"}, {"Tally-Signature": SIGNED}, BODY, "other-secret") == "wrong_signature"
    )


def test_both_live_secrets_verify_and_no_third() -> None:
    header = {"Tally-Signature": SIGNED}
    assert code_of({"scheme": "tally"}, header, BODY, "new", "form-secret") is None
    assert code_of({"scheme": "tally"}, header, BODY, "form-secret", "old") is None
    assert code_of({"scheme": "tally"}, header, BODY, "new", "newer") == "wrong_signature"


@pytest.mark.parametrize(
    "sent", ["1763716364", "1763716364000", "2025-11-21T09:12:44Z", "2025-11-21T10:12:44+01:00"]
)
def test_the_time_of_sending_is_read_in_the_usual_forms(sent: str) -> None:
    # Only the first is the text that was signed; the others get as far as the signature.
    assert code_of(TIMED, timed(timestamp=sent)) == (None if sent == "1763716364" else "wrong_signature")


@pytest.mark.parametrize("late", [301, -301, 86400])
def test_a_time_outside_the_window_is_refused(late: int) -> None:
    assert code_of(TIMED, timed(), now=NOW + late) == "timestamp_outside_window"


@pytest.mark.parametrize("late", [299, -299])
def test_a_time_within_the_window_verifies(late: int) -> None:
    assert code_of(TIMED, timed(), now=NOW + late) is None


def test_an_old_signature_with_a_fresh_time_is_refused() -> None:
    assert code_of(TIMED, timed(timestamp="1763720000"), now=1763720000) == "wrong_signature"


@pytest.mark.parametrize("timestamp", ["", "now", "-5", "1e9", "9" * 20, "2025-11-21T09:12:44"])
def test_a_time_that_cannot_be_read_is_refused(timestamp: str) -> None:
    assert code_of(TIMED, timed(timestamp=timestamp)) == "timestamp_missing"


# ── shared secrets ───────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_in_a_header_verifies_with_its_prefix_only() -> None:
    scheme = {"scheme": "header", "header": "Authorization", "prefix": "Bearer "}
    assert code_of(scheme, {"Authorization": "Bearer form-secret"}) is None
    assert code_of(scheme, {"Authorization": "form-secret"}) == "secret_missing"
    assert code_of(scheme, {"Authorization": "Bearer form-secreT"}) == "wrong_secret"
    assert code_of(scheme, {"Authorization": "Bearer "}) == "secret_missing"
    assert code_of(scheme, {}) == "secret_missing"


def test_a_secret_in_the_path_verifies() -> None:
    assert code_of({"scheme": "path"}, {}, path_secret="form-secret") is None
    assert code_of({"scheme": "path"}, {}, path_secret="form-secre") == "wrong_secret"
    assert code_of({"scheme": "path"}, {}, path_secret="") == "secret_missing"
    assert code_of({"scheme": "path"}, {}) == "secret_missing"


# ── what a form file may not ask for ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"signed": "{timestamp}.x"}, "{body} once"),
        ({"signed": "{body}.{body}"}, "{body} once"),
        ({"signed": "{timestamp}.{body}.{url}"}, "{body} once"),
        ({"signed": "{body}"}, "goes with {timestamp}"),
        ({"timestamp": None}, "goes with {timestamp}"),
        ({"timestamp": {}}, "either header or key"),
        ({"timestamp": {"header": "X-T", "key": "t"}}, "either header or key"),
        ({"algorithm": "md5"}, "sha256"),
        ({"header": "X Signature"}, "pattern"),
        ({"scheme": "md5"}, "scheme must be one of"),
    ],
)
def test_a_scheme_that_would_not_protect_is_no_scheme(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        SCHEME.validate_python(TIMED | change)
