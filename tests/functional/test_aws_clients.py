"""The AWS clients over real sockets: one check of certificates for all of them."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import SSLError
from botocore.parsers import ResponseParserError

from helpdesk.runtime.aws import Clients
from tests.functional.scripted import Reply, ScriptedServer, scripted

ANSWERS = [Reply(body=b"{}")] * 8
# What the SDK tells of a call.
_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "needs-retry",
    "after-call",
    "after-call-error",
    "creating-client-class",
)


def server_context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def clients(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return Clients(connections=4)


def test_all_clients_share_one_context(trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counting(context: ssl.SSLContext, *args: object, **kwargs: object) -> None:
        loads.append(context)
        load(context, *args, **kwargs)  # type: ignore[arg-type]  # whatever it was called with

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counting)
    with scripted(*ANSWERS, tls=server_context(trusted, "127.0.0.1")) as server:
        aws = clients(server, monkeypatch)
        aws.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "x"}})
        aws.sqs.send_message(QueueUrl=f"{server.url}/queue", MessageBody="x")
        aws.secretsmanager.get_secret_value(SecretId="x")

        assert server.connections == 3
    assert len(loads) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "another.example"])
def test_a_certificate_that_is_not_trusted_or_not_the_hosts_is_refused(
    host: str, trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = trusted if host == "another.example" else trustme.CA()
    with scripted(*ANSWERS, tls=server_context(issuer, host)) as server:
        aws = clients(server, monkeypatch)

        with pytest.raises(SSLError):
            aws.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "x"}})
        assert server.calls == []


def test_a_bundle_of_the_operators_own_is_used(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = trustme.CA()
    bundle = tmp_path / "own.pem"
    own.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with scripted(*ANSWERS, tls=server_context(own, "127.0.0.1")) as server:
        aws = clients(server, monkeypatch)

        assert aws.dynamodb.get_item(TableName="ledger", Key={"pk": {"S": "x"}}).get("Item") is None


@pytest.mark.parametrize("service", ["dynamodb", "secretsmanager", "sns", "sqs"])
def test_the_sdk_handles_our_services_as_it_does_by_itself(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    ours: Any = getattr(Clients(connections=4), service)
    standard = Config(retries={"mode": "standard"})
    usual: Any = botocore.session.get_session().create_client(service, config=standard)

    def handlers(client: Any, event: str) -> list[str]:
        events = client.meta.events
        handlers = events._emitter._handlers.prefix_search(events._alias_event_name(event))
        names = [getattr(handler, "__qualname__", type(handler).__name__) for handler in handlers]
        # Powertools' own comes first here and last there; and one is ours.
        return sorted(name for name in names if name != "_encode_once")

    for operation in ours.meta.method_to_api_mapping.values():
        for event in _EVENTS:
            name = f"{event}.{service}.{operation}"
            assert handlers(ours, name) == handlers(usual, name)


def test_a_batch_of_outcomes_is_encoded_as_the_sdk_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: Any = [
        {
            "Id": "0",
            "Message": '{"a": "ü & + = %"}\n',
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": "ticket.added"}},
        }
    ]
    with scripted(*ANSWERS) as server:
        usual: Any = botocore.session.get_session().create_client("sns", endpoint_url=server.url)
        for sns in (clients(server, monkeypatch).sns, usual):
            with suppress(ResponseParserError):
                sns.publish_batch(TopicArn="arn:aws:sns:eu-west-1:1:t", PublishBatchRequestEntries=entries)

        ours, theirs = server.calls
        assert ours.body == theirs.body
        assert ours.headers["content-type"] == theirs.headers["content-type"]
