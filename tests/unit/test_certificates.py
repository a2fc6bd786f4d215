"""The folder of authorities: OpenSSL finds in it what our script has put there."""

import datetime as dt
import ssl
from contextlib import suppress
from functools import cache
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
# Long enough that what is signed has a length of two bytes, whatever name stands in their place.
SUBJECT = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "subject " * 8)])
ISSUER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer " * 8)])
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
COMMON_NAME, ORGANISATION, COUNTRY = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x06"
UTF8, NUMERIC, PRINTABLE, T61, IA5, UNIVERSAL, BMP = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x1C, 0x1E
BITS, VISIBLE, SEQUENCE, SET = 0x03, 0x1A, 0x30, 0x31


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    head = bytes([tag, size]) if size < 128 else bytes([tag, 0x82]) + size.to_bytes(2)
    return head + content


def attribute(tag: int, value: bytes, oid: bytes = COMMON_NAME) -> bytes:
    return der(SEQUENCE, der(0x06, oid) + der(tag, value))


def name(*parts: bytes) -> bytes:
    """A name of the attributes, each a part of its own."""
    return der(SEQUENCE, b"".join(der(SET, part) for part in parts))


@cache
def template(ca: bool, key: ec.EllipticCurvePrivateKey) -> bytes:
    """What is signed in a certificate, without its head: that holds the length."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(SUBJECT)
        .issuer_name(ISSUER)
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
    return made.tbs_certificate_bytes[4:]


def certificate(subject: bytes, issuer: bytes, ca: bool, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    """One whose names are these bytes: the usual builder knows few types of strings."""
    signed = template(ca, key).replace(ISSUER.public_bytes(), issuer).replace(SUBJECT.public_bytes(), subject)
    signed = der(SEQUENCE, signed)
    signature = der(BITS, b"\0" + key.sign(signed, ec.ECDSA(SHA256())))
    return ssl.DER_cert_to_PEM_cert(der(SEQUENCE, signed + ECDSA_WITH_SHA256 + signature))


def folder_of(tmp_path: Path, *subjects: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> Path:
    """A folder made by the script, of authorities with these names."""
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "hashed"
    bundle.write_text("".join(certificate(subject, subject, ca=True, key=key) for subject in subjects))
    certificates.main(bundle, folder)
    return folder


def refusal(
    folder: Path, issuer: bytes, host: str = HOST, key: ec.EllipticCurvePrivateKey = KEY
) -> str | None:
    """Why a client with this folder refuses a server with a certificate of this issuer; None: it does not."""
    pem = folder.with_name("server.pem")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pem.write_text(private + certificate(name(attribute(UTF8, b"server")), issuer, ca=False, key=key))
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
        names[root.subject.rfc4514_string()] = root.subject.public_bytes()
        # Byte for byte the root's own: it stands there as subject and as issuer.
        assert root.tbs_certificate_bytes.count(root.subject.public_bytes()) == 2
    folder = folder_of(tmp_path, *names.values())

    refused = {text: refusal(folder, subject) for text, subject in names.items()}
    assert {text: why for text, why in refused.items() if why} == {}
    assert len(refused) > 100


NAMES = {
    "PrintableString": name(attribute(PRINTABLE, b"DE", COUNTRY), attribute(PRINTABLE, b"  An  Authority ")),
    "UTF8String": name(attribute(UTF8, " Größe  ÄÖ\t\n A\x1c\u2003B ".encode())),
    "T61String": name(attribute(T61, " Größe  ÄÖ\x85\xa0".encode("latin-1"))),
    "IA5String": name(attribute(IA5, b" CA@Host.Example\r\n\x0b\x0c2\xe4 ")),
    "UniversalString": name(attribute(UNIVERSAL, " Größe  \U0001f3db A ".encode("utf-32-be"))),
    "BMPString": name(attribute(BMP, " Größe  € A ".encode("utf-16-be"))),
    "NumericString, not a text": name(attribute(NUMERIC, b" 12  34 ")),
    "BIT STRING": name(attribute(BITS, b"\0 A  B")),
    "SEQUENCE": name(attribute(SEQUENCE, der(UTF8, b" A  B "))),
    "nothing but blanks": name(attribute(UTF8, b"  ")),
    "nothing": name(attribute(UTF8, b"")),
    "several at once, whose order turns": name(
        attribute(UTF8, b"b") + attribute(T61, b"  A"), attribute(UTF8, b"a", ORGANISATION)
    ),
    "long": name(attribute(UTF8, "Ä Long  Name ".encode() * 9), attribute(UTF8, b"X  " * 200)),
}


@pytest.mark.parametrize("subject", NAMES.values(), ids=NAMES.keys())
def test_an_odd_name_is_found(subject: bytes, tmp_path: Path) -> None:
    assert refusal(folder_of(tmp_path, subject), subject) is None


def test_a_name_is_found_however_a_certificate_writes_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, name(attribute(PRINTABLE, b"An Authority")))

    assert refusal(folder, name(attribute(BMP, " AN   authority".encode("utf-16-be")))) is None


def test_authorities_of_one_name_are_told_apart(tmp_path: Path) -> None:
    subject = name(attribute(UTF8, b"Authority"))
    folder = folder_of(tmp_path, subject, key=KEY)
    assert refusal(folder, subject, key=OTHER_KEY) is not None
    folder_of(tmp_path, subject, key=OTHER_KEY)

    assert refusal(folder, subject, key=KEY) is None
    assert refusal(folder, subject, key=OTHER_KEY) is None
    first, second = sorted(folder.iterdir())
    assert (first.stem, first.suffix, second.suffix) == (second.stem, ".0", ".1")


def test_an_unknown_authority_and_another_host_are_refused(tmp_path: Path) -> None:
    known, unknown = name(attribute(UTF8, b"known")), name(attribute(UTF8, b"unknown"))
    folder = folder_of(tmp_path, known)

    assert refusal(folder, unknown) == "unable to get local issuer certificate"
    assert "Hostname mismatch" in str(refusal(folder, known, host="other.example"))


GOOD = name(attribute(UTF8, b"good"))
CONSTRUCTED = name(attribute(0x2C, der(UTF8, b"bad")))
ENDLESS = b"\x30\x80" + der(SET, attribute(UTF8, b"bad")) + b"\0\0"
BROKEN = {
    "no certificate": ("", "cannot be read"),
    "cut off": (certificate(GOOD, GOOD, ca=True)[:-40], "cannot be read"),
    "a type that no name has": (
        certificate(name(attribute(VISIBLE, b"bad")), GOOD, ca=True),
        "cannot be read",
    ),
    "a type in a form that we do not read": (certificate(CONSTRUCTED, GOOD, ca=True), "type 0x2c"),
    "a length that is not told": (certificate(ENDLESS, GOOD, ca=True), "not in the short form"),
    "not an authority": (certificate(name(attribute(UTF8, b"bad")), GOOD, ca=False), "not an authority's"),
}


@pytest.mark.parametrize(("bad", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_bundle_of_which_one_could_not_be_found_is_an_error(bad: str, told: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(certificate(GOOD, GOOD, ca=True) * bool(bad) + bad)

    with pytest.raises(SystemExit, match=told):
        certificates.main(bundle, tmp_path / "hashed")
