"""What `sample_by` says: by what of a request a sample is chosen (docs/filters.md).

In: text.  Out: a word, or a field of the filter language and its name; or a `WhereError` of one line.
"""

from typing import Final

from emit.tokens import WhereError, tokens

WORDS: Final = ("exchange", "flow", "client")
"""By the message's id; by the two ends of its connection; by the address that its requests come from."""
NAMED: Final = ("header", "param", "cookie")
"""Fields of the request that have a name in parentheses, as in `where`."""
WANTED: Final = "write exchange, flow, client, header('…'), param('…') or cookie('…')"


def parse_by(text: str) -> tuple[str, str]:
    """Return what a sample is chosen by, and the name of the field if it is one."""
    word, *rest = tokens(text)
    signs = [token.value for token in rest if token.kind != "text"]
    if word.kind == "word" and word.value in WORDS and len(rest) == 1:
        return word.value, ""
    if word.value in NAMED and signs == ["(", ")", ""] and len(rest) == 4 and rest[1].kind == "text" and rest[1].value:
        return word.value, rest[1].value
    raise WhereError(f"{word.shown} to sample by", word.at, WANTED)
