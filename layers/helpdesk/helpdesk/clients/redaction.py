"""Removes a secret from texts in which somebody else may repeat it."""

import html
import re
from urllib.parse import unquote

# So many letters of a secret in a row are no accident; fewer are of no use to anybody.
_PIECE = 8
_WORD = re.compile(r"""[^\s"'<>,;]+""")


def redacted(text: str, secret: str, mark: str = "[token]") -> str:
    """The text; each word that holds the secret or a piece of it, in any case or escaped, is replaced."""
    whole = secret.casefold()
    length = min(_PIECE, len(whole))
    pieces = {whole[start : start + length] for start in range(len(whole) - length + 1)} if whole else set()

    def mark_secret(match: re.Match[str]) -> str:
        word = unquote(html.unescape(match[0])).casefold()
        windows = (word[start : start + length] for start in range(len(word) - length + 1))
        return mark if any(window in pieces for window in windows) else match[0]

    return _WORD.sub(mark_secret, text)
