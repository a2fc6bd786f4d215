"""Puts certificates of authorities into a folder where OpenSSL looks one up by the name of its file.

A file is called `<hash>.<number>`: the hash is that of the authority's name, the number tells those of one
hash apart. OpenSSL's command `rehash` makes the same; a build needs the tools of `make setup` instead.
"""

import ssl
import sys
from itertools import count
from pathlib import Path

from OpenSSL.crypto import FILETYPE_ASN1, load_certificate


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
        name = f"{load_certificate(FILETYPE_ASN1, certificate).subject_name_hash():08x}"
        free = next(path for path in (folder / f"{name}.{number}" for number in count()) if not path.exists())
        free.write_text(ssl.DER_cert_to_PEM_cert(certificate))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
