"""Texts as token ids: CLIP's byte-pair encoding, 77 tokens, with or without the lost end token."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

LENGTH = 77
START, END = 49406, 49407


def tokens(texts: Sequence[str], end_token: str) -> np.ndarray:
    """Token ids [N, 77], int64: start, text, end, zeros.

    A longer text is cut off. `end_token`: kept, the last token becomes the end token, as in the
    reference since November 2025; lost, it does not, as before. Raises ValueError for another word.
    """
    if end_token not in ("kept", "lost"):
        raise ValueError(f"end_token {end_token!r}, expected kept or lost")
    ids = np.zeros((len(texts), LENGTH), np.int64)
    for row, found in zip(ids, map(_encode, texts), strict=True):
        row[: len(found)] = found[:LENGTH]
        if len(found) > LENGTH and end_token == "kept":
            row[-1] = END
    return ids


def truncated(texts: Sequence[str]) -> list[bool]:
    """Which texts are longer than the model reads."""
    return [len(_encode(text)) > LENGTH for text in texts]


def _encode(text: str) -> list[int]:
    """Start, the text's tokens however many, end."""
    return [START, *_tokenizer().encode(text), END]


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """CLIP's tokenizer, with its two special tokens spelt as CLIP and ImageBind spell them."""
    import regex
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    pattern = tokenizer.pat.pattern
    for name, ours in (("start_of_text", "startoftext"), ("end_of_text", "endoftext")):
        token = f"<|{ours}|>"
        pattern = pattern.replace(f"<{name}>", regex.escape(token))
        tokenizer.encoder[token] = tokenizer.encoder.pop(f"<{name}>")
        tokenizer.cache[token] = token
    tokenizer.pat = regex.compile(pattern, regex.IGNORECASE)
    return tokenizer
