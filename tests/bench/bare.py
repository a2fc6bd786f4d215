"""What any worker needs of Python, and nothing else."""

import http.client
import json
import logging
import ssl

logger = logging.getLogger()


def handler(event: object, context: object) -> str:
    """So that the imports are used."""
    logger.debug("%s %s %s", event, context, ssl.OPENSSL_VERSION)
    return json.dumps(http.client.OK)
