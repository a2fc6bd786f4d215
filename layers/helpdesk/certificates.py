"""Puts certificates of authorities into a folder where OpenSSL looks one up by the name of its file.

A file is called `<hash>.<number>`: the hash is that of the authority's name, the number tells those of one
hash apart. OpenSSL's command `rehash` makes the same; a build need not have it.
"""

import hashlib
import ssl
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_UTF8_STRING, _SEQUENCE, _SET, _VERSION = 0x0C, 0x30, 0x31, 0xA0
# The types in a name that OpenSSL compares as text, by their tags in DER.
_TEXTS = {
    _UTF8_STRING: "utf-8",
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String: whatever its standard says, this is how OpenSSL reads it.
    0x16: "latin-1",  # IA5String
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
# What it compares byte by byte: BIT STRING, NumericString, SEQUENCE.
_BYTES = {0x03, 0x12, 0x30}


def main(bundle: Path, folder: Path) -> None:
    """Adds each certificate of the bundle. Ends with an error where one is unreadable or no authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        raise SystemExit(f"{bundle} cannot be read: {error}") from error
    authorities = context.get_ca_certs(binary_form=True)
    if len(authorities) != context.cert_store_stats()["x509"]:
        raise SystemExit(f"{bundle} holds a certificate that is not an authority's")
    folder.mkdir(parents=True, exist_ok=True)
    for certificate in authorities:
        try:
            name = subject_hash(certificate)
        except (ValueError, IndexError) as error:
            pem = ssl.DER_cert_to_PEM_cert(certificate)
            raise SystemExit(f"the subject of this certificate cannot be read: {error}\n{pem}") from error
        free = next(path for path in (folder / f"{name}.{number}" for number in count()) if not path.exists())
        free.write_text(ssl.DER_cert_to_PEM_cert(certificate))


def subject_hash(certificate: bytes) -> str:
    """OpenSSL's hash of the subject of a certificate in DER: that of X509_NAME_hash since version 1.0."""
    (_, signed), *_ = _elements(_only(certificate))
    fields = [content for tag, content in _elements(signed) if tag != _VERSION]
    # Serial number, algorithm, issuer and validity come first.
    subject = b"".join(_canonical_set(content) for _, content in _elements(fields[4]))
    # Four bytes of it, the last one first, are OpenSSL's number.
    return hashlib.sha1(subject, usedforsecurity=False).digest()[3::-1].hex()


def _canonical_set(content: bytes) -> bytes:
    """A part of the name: mostly one type with its value, else several in the order of their bytes."""
    pairs = []
    for _, pair in _elements(content):
        (oid_tag, oid), (tag, value) = _elements(pair)
        pairs.append(_der(_SEQUENCE, _der(oid_tag, oid) + _canonical(tag, value)))
    return _der(_SET, b"".join(sorted(pairs)))


def _canonical(tag: int, value: bytes) -> bytes:
    """Of a text neither the type of string nor ASCII's capitals nor the number of blanks counts."""
    if tag in _BYTES:
        return _der(tag, value)
    if tag not in _TEXTS:
        raise ValueError(f"type {tag:#04x} is not known in a name")
    # Of bytes, not of a string: `split` and `lower` of these know ASCII only, as OpenSSL does.
    return _der(_UTF8_STRING, b" ".join(value.decode(_TEXTS[tag]).encode().split()).lower())


def _only(der: bytes) -> bytes:
    ((_, content),) = _elements(der)
    return content


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element."""
    while der:
        tag, length, start = der[0], der[1], 2
        if length == 0x80 or tag & 0x1F == 0x1F:
            raise ValueError("it is not in the short form that certificates have")
        if length > 0x80:
            start += length - 0x80
            length = int.from_bytes(der[2:start])
        if len(der) < start + length:
            raise ValueError("it ends too early")
        yield tag, der[start : start + length]
        der = der[start + length :]


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 + size]) + length.to_bytes(size) + content


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
