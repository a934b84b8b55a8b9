"""Protocols: everything that decides a number, as a dict of builtins with a short id."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Protocol = Mapping[str, Any]


def digest(*parts: str | bytes) -> str:
    """32 hexadecimal digits of the SHA-256 of the parts, each preceded by its length."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:32]


def protocol_id(protocol: Protocol) -> str:
    """12 hexadecimal digits that name a protocol; equal for equal content in any key order."""
    return digest(json.dumps(protocol, sort_keys=True, ensure_ascii=True))[:12]
