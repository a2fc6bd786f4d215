"""The folder of authorities: OpenSSL finds in it what our script has put there."""

import datetime as dt
import ssl
from contextlib import suppress
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import certificates

HOST = "host.example"
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def certificate(
    subject: x509.Name, issuer: x509.Name, ca: bool, key: ec.EllipticCurvePrivateKey = KEY
) -> str:
    """One of a day. All that it names have one key, and it is signed with that."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, False, False, False), critical=True
        )
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def folder_of(tmp_path: Path, *subjects: x509.Name, key: ec.EllipticCurvePrivateKey = KEY) -> Path:
    """A folder made by the script, of authorities with these names."""
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "hashed"
    bundle.write_text("".join(certificate(subject, subject, ca=True, key=key) for subject in subjects))
    certificates.main(bundle, folder)
    return folder


def refusal(
    folder: Path, issuer: x509.Name, host: str = HOST, key: ec.EllipticCurvePrivateKey = KEY
) -> str | None:
    """Why a client with this folder refuses a server with a certificate of this issuer; None: it does not."""
    pem = folder.with_name("server.pem")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pem.write_text(private + certificate(name("server"), issuer, ca=False, key=key))
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = accepting.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(capath=folder).wrap_bio(to_client, to_server, server_hostname=host)
    try:
        # Each says once what it has to say; the client is done when it has seen the server's certificate.
        for side in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    assert client.version() == "TLSv1.3"
    return None


# One root has a number that is none by the later standard.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_authority_of_the_bundle_is_found(tmp_path: Path) -> None:
    names = {}
    for root in x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes()):
        names[root.subject.rfc4514_string()] = root.subject
        # Byte for byte the root's own: it stands there as subject and as issuer.
        assert root.tbs_certificate_bytes.count(root.subject.public_bytes()) == 2
    folder = folder_of(tmp_path, *names.values())

    refused = {text: refusal(folder, subject) for text, subject in names.items()}
    assert {text: why for text, why in refused.items() if why} == {}
    assert len(refused) > 100


def test_authorities_of_one_name_are_told_apart(tmp_path: Path) -> None:
    subject = name("Authority")
    folder = folder_of(tmp_path, subject, key=KEY)
    assert refusal(folder, subject, key=OTHER_KEY) is not None
    folder_of(tmp_path, subject, key=OTHER_KEY)

    assert refusal(folder, subject, key=KEY) is None
    assert refusal(folder, subject, key=OTHER_KEY) is None
    first, second = sorted(folder.iterdir())
    assert (first.stem, first.suffix, second.suffix) == (second.stem, ".0", ".1")


def test_an_unknown_authority_and_another_host_are_refused(tmp_path: Path) -> None:
    known, unknown = name("known"), name("unknown")
    folder = folder_of(tmp_path, known)

    assert refusal(folder, unknown) == "unable to get local issuer certificate"
    assert "Hostname mismatch" in str(refusal(folder, known, host="other.example"))


GOOD = name("good")
BROKEN = {
    "no certificate": ("", "cannot be read"),
    "cut off": (certificate(GOOD, GOOD, ca=True)[:-40], "cannot be read"),
    "not an authority": (certificate(name("bad"), GOOD, ca=False), "not an authority's"),
}


@pytest.mark.parametrize(("bad", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_bundle_of_which_one_could_not_be_found_is_an_error(bad: str, problem: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(certificate(GOOD, GOOD, ca=True) * bool(bad) + bad)

    with pytest.raises(SystemExit, match=problem):
        certificates.main(bundle, tmp_path / "hashed")
