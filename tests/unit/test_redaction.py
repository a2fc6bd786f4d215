"""A token that somebody repeats in other words is not shown."""

from urllib.parse import quote

import pytest

from helpdesk.clients.redaction import redacted

TOKEN = "a9K+x/Zq7Lm2==&Pd0vW4sYtUeRb<8"


@pytest.mark.parametrize(
    "echo",
    [
        TOKEN,
        TOKEN.upper(),
        TOKEN.lower(),
        quote(TOKEN, safe=""),
        quote(TOKEN, safe="").lower(),
        TOKEN.replace("&", "&amp;").replace("<", "&lt;"),
        TOKEN[:12],
        TOKEN[-12:] + "…",
        TOKEN[5:20] + "...",
        f"key={TOKEN}",
        f'{{"auth":"{TOKEN[:14]}"}}',
        f"({TOKEN})",
    ],
)
def test_a_token_is_taken_out_in_whatever_spelling(echo: str) -> None:
    text = redacted(f"Invalid key {echo} for this account", TOKEN)

    assert text.startswith("Invalid key ")
    assert text.endswith(" for this account")
    assert not [start for start in range(len(TOKEN) - 8) if TOKEN[start : start + 8].lower() in text.lower()]


@pytest.mark.parametrize("text", ["", "title is missing", "Invalid Auth Key", "a9K+x", "Größe 100%"])
def test_other_words_stay(text: str) -> None:
    assert redacted(text, TOKEN) == text


def test_without_a_token_nothing_is_taken_out() -> None:
    assert redacted("Invalid key", "") == "Invalid key"


def test_a_short_token_is_taken_out_whole() -> None:
    assert redacted("key abc1 and abc", "abc1") == "key [token] and abc"
