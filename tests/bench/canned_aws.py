"""AWS as a bench needs it: the same answer to every call, after a set time, and a count of the calls.

A process of its own, so that its work is not the worker's. moto would take longer for an answer than the
worker for all the rest.
"""

import asyncio
import json
import ssl
import sys
from collections import Counter
from urllib.parse import parse_qs

# A token and a key, so that it is what every secret of ours may hold.
_HELD = json.dumps({"token": "bench", "key": "a-key-of-the-bench-for-its-markers"})
_SECRET = json.dumps({"ARN": "token", "Name": "token", "VersionId": "1", "SecretString": _HELD}).encode()
_BY_OPERATION = {"GetSecretValue": _SECRET, "SendMessage": b'{"MessageId":"1"}'}
_PUBLISHED = (
    "<{0}Response xmlns='http://sns.amazonaws.com/doc/2010-03-31/'><{0}Result>{1}</{0}Result>"
    "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{0}Response>"
)


class CannedAws:
    """Answers DynamoDB, SNS, SQS and Secrets Manager."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self.calls: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client closes it."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                pairs = (line.partition(":") for line in lines[1:] if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                answer = await self._answer(lines[0].split()[1], headers, body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if path == "/_calls":
            counted, self.calls = self.calls, Counter()
            return json.dumps(counted).encode()
        await asyncio.sleep(self._latency_s)
        target = headers.get("x-amz-target")
        if target:
            service, _, operation = target.partition(".")
            self.calls[f"{service.partition('_')[0]}.{operation}"] += 1
            return _BY_OPERATION.get(operation, b"{}")
        form = parse_qs(body.decode())
        (operation,) = form["Action"]
        self.calls[f"SNS.{operation}"] += 1
        ids = [values[0] for name, values in form.items() if name.endswith(".Id")]
        members = "".join(f"<member><Id>{entry_id}</Id><MessageId>1</MessageId></member>" for entry_id in ids)
        inside = f"<Successful>{members}</Successful><Failed/>" if ids else "<MessageId>1</MessageId>"
        return _PUBLISHED.format(operation, inside).encode()


async def _main(latency_s: float, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(CannedAws(latency_s).serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # whoever started it waits for this
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]), sys.argv[2]))
