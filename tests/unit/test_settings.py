"""The environment of a function, good and bad."""

import traceback
from collections.abc import Mapping

import pytest

from helpdesk.clients.kapture.settings import KaptureSettings
from helpdesk.errors import SettingsError
from helpdesk.settings import load_callback_settings, load_form_settings, load_settings

NEEDED = {
    "KAPTURE_URL": "https://acme.kapturecrm.com",
    "KAPTURE_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:token",
    "REQUESTS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/requests",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
    "OUTCOMES_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:outcomes",
    "LEDGER_TABLE": "ledger",
    "MARKER_KEY_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:markers",
}


def kapture_of(environment: Mapping[str, str]) -> KaptureSettings:
    kapture = load_settings(environment).accounts["kapture"]
    assert isinstance(kapture, KaptureSettings)
    return kapture


def test_the_environment_is_read_into_types() -> None:
    environment = NEEDED | {
        "KAPTURE_URL": "https://acme.kapturecrm.com/",
        "KAPTURE_ZONE": "Europe/Berlin",
        "KAPTURE_SUB_STATUSES": '{"closed": "CL"}',
        "KAPTURE_SEND_API_KEY": "true",
        "KAPTURE_IDS": '{"queue": {"Support": "12"}}',
        "KAPTURE_BODIES": "object",
        "GIVE_UP_AFTER_HOURS": "2",
        "DEFAULT_SOURCE": "shop",
        "PATH": "/bin",
    }

    settings, kapture = load_settings(environment), kapture_of(environment)
    assert kapture.url == "https://acme.kapturecrm.com"
    assert kapture.zone.key == "Europe/Berlin"
    assert kapture.sub_statuses == {"closed": "CL"}
    assert (kapture.ids, kapture.bodies) == ({"queue": {"Support": "12"}}, "object")
    assert kapture.send_api_key is True
    assert settings.give_up_after_s == 7200
    assert (settings.default_source, settings.default_helpdesk) == ("shop", "kapture")
    assert settings.ledger_table == "ledger"


def test_what_is_left_open_has_the_helpdesks_documented_default() -> None:
    kapture = kapture_of(NEEDED | {"KAPTURE_ZONE": "", "KAPTURE_PATH_VERSION": ""})

    assert (kapture.zone.key, kapture.path_version) == ("Asia/Kolkata", "/v.2.0")
    assert (kapture.sub_statuses, kapture.send_api_key, kapture.pull_limit) == ({}, False, 0)


def test_the_older_generation_is_asked_for_by_no_path_version() -> None:
    assert kapture_of(NEEDED | {"KAPTURE_PATH_VERSION": "none"}).path_version == ""


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "absent"])
def test_names_and_addresses_are_never_guessed(name: str, empty: bool) -> None:
    environment = NEEDED | {name: ""} if empty else {key: NEEDED[key] for key in NEEDED if key != name}

    with pytest.raises(SettingsError, match=f"^{name}: Field required$"):
        load_settings(environment)


def test_one_error_names_every_bad_variable() -> None:
    bad = {
        "KAPTURE_URL": "http://acme.kapturecrm.com",
        "KAPTURE_ZONE": "Mars/Olympus",
        "KAPTURE_SUB_STATUSES": "closed=CL",
        "KAPTURE_PATH_VERSION": "v.2.0",
        "KAPTURE_SEND_API_KEY": "perhaps",
        "KAPTURE_IDS": '{"queues": {}}',
        "KAPTURE_BODIES": "array",
        "KAPTURE_PRIORITY_FIELD": "two words",
        "DEFAULT_HELPDESK": "zendesk",
        "DEFAULT_SOURCE": "two words",
        "CONNECT_TIMEOUT_S": "0",
        "READ_TIMEOUT_S": "60",
        "GIVE_UP_AFTER_HOURS": "400",
        "LEASE_S": "soon",
        "THREADS": "1000",
    }
    environment = NEEDED | bad
    del environment["LEDGER_TABLE"]

    with pytest.raises(SettingsError) as caught:
        load_settings(environment)

    named = {part.split(":")[0] for part in str(caught.value).split("; ")}
    assert named == {*bad, "LEDGER_TABLE"}
    assert "KAPTURE_ZONE: is no IANA time zone" in str(caught.value)


@pytest.mark.parametrize(
    ("helpdesks", "named"),
    [
        ("socialboards", {"LEDGER_TABLE", "SOCIALBOARDS_SECRET_ARN"}),
        ("kapture,socialboards", {"LEDGER_TABLE", "KAPTURE_URL", "SOCIALBOARDS_SECRET_ARN"}),
        ("kapture,zendesk", {"LEDGER_TABLE", "KAPTURE_URL", "HELPDESKS"}),
        (",", {"LEDGER_TABLE", "HELPDESKS"}),
    ],
)
def test_an_error_names_what_the_served_helpdesks_lack(helpdesks: str, named: set[str]) -> None:
    environment = NEEDED | {"HELPDESKS": helpdesks, "LEDGER_TABLE": "", "KAPTURE_URL": ""}

    with pytest.raises(SettingsError) as caught:
        load_settings(environment)

    assert {part.split(":")[0] for part in str(caught.value).split("; ")} == named


def test_only_a_settings_own_variable_sets_it() -> None:
    assert load_settings(NEEDED | {"threads": "1", "ACCOUNTS": "x", "KAPTURE": "x"}) == load_settings(NEEDED)


@pytest.mark.parametrize("zone", ["America", "../UTC", "utc"])
def test_a_zone_is_named_in_full(zone: str) -> None:
    with pytest.raises(SettingsError, match=r"^KAPTURE_ZONE: is no IANA time zone$"):
        load_settings(NEEDED | {"KAPTURE_ZONE": zone})


def test_an_error_quotes_nothing_of_the_environment() -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": "canary", "KAPTURE_URL": "canary"}
    with pytest.raises(SettingsError) as caught:
        load_settings(environment)

    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.kapturecrm.com",
        "https://ACME.KaptureCRM.com:8443/",
        "http://127.0.0.1:8080",
        "http://localhost:8080",
        "https://localhost",
        "http://[::1]:8080",
    ],
)
def test_our_token_may_go_to_the_helpdesk_by_https_and_to_loopback(url: str) -> None:
    assert kapture_of(NEEDED | {"KAPTURE_URL": url}).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.kapturecrm.com",
        "https://acme.example.com",
        "https://kapturecrm.com.example.com",
        "https://evilkapturecrm.com",
        "https://acme.kapturecrm.com@example.com",
        "https://:secret@acme.kapturecrm.com",
        "https://example.com\\.kapturecrm.com",
        "https://example.com#.kapturecrm.com",
        "https://acme.kapturecrm.com/path",
        "https://acme.kapturecrm.com?query",
        "https://acme.kapturecrm.com:port",
        "ftp://localhost",
        "http://127.0.0.1.example.com",
        "acme.kapturecrm.com",
        "https://[::1",
    ],
)
def test_our_token_goes_nowhere_else(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^KAPTURE_URL: "):
        load_settings(NEEDED | {"KAPTURE_URL": url})


@pytest.mark.parametrize("hosts", ["desk.example.com, example.org", ".example.org", "a.com,.example.org."])
def test_an_operator_names_other_hosts(hosts: str) -> None:
    allowed = NEEDED | {"KAPTURE_HOSTS": hosts}

    assert kapture_of(allowed | {"KAPTURE_URL": "https://a.example.org"}).url
    for url in ("https://acme.kapturecrm.com", "https://badexample.org", "http://a.example.org"):
        with pytest.raises(SettingsError, match=r"KAPTURE_HOSTS \(.*example\.org"):
            load_settings(allowed | {"KAPTURE_URL": url})


def test_each_helpdesk_that_is_served_needs_a_secret_for_its_callbacks() -> None:
    environment = {"KAPTURE_CALLBACK_SECRET_ARN": "k", "SOCIALBOARDS_CALLBACK_SECRET_ARN": ""}

    assert load_callback_settings(["kapture"], environment) == {"kapture": "k"}
    with pytest.raises(SettingsError, match="SOCIALBOARDS_CALLBACK_SECRET_ARN"):
        load_callback_settings(["kapture", "socialboards"], environment)


def test_forms_lie_beside_the_functions_code_unless_told_otherwise() -> None:
    environment = {"FORM_SECRET_FOLDER": "acme/forms/", "LAMBDA_TASK_ROOT": "/code", "FORMS_FILE": ""}

    assert load_form_settings(environment) == ("/code/forms.json", "acme/forms")
    assert load_form_settings(environment | {"FORMS_FILE": "/f.json"}).forms_file == "/f.json"
    with pytest.raises(SettingsError, match=r"^FORM_SECRET_FOLDER: "):
        load_form_settings({"FORM_SECRET_FOLDER": "two words"})
