"""The AWS clients over real sockets: one check of certificates for all of them."""

import ssl
from pathlib import Path

import pytest
import trustme
from botocore.exceptions import SSLError

from helpdesk.wiring.aws import Clients
from tests.functional.scripted import Reply, ScriptedServer, scripted

ANSWERS = [Reply(body=b"{}")] * 8


def server_context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def clients(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return Clients(threads=4)


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
