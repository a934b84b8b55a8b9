"""Files that are not what they are called, or far larger than they look."""

import struct
import zlib
from pathlib import Path

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "m3u": "#EXTM3U\n{target}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{target}</BaseURL>"
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
    "html": "<html><video src='{target}'></html>",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    '<image width="9" height="9" xlink:href="{target}"/></svg>',
}
"""Texts that make ffmpeg, or a browser, open what they name."""

FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1")
"""Texts that spreadsheets run."""

SCRIPTS = (
    "<script>document.title = 'pwned'</script>",
    "</script><script>document.title = 'pwned'</script>",
    "</title><script>document.title = 'pwned'</script>",
    "</style><img src=x onerror=\"document.title = 'pwned'\">",
    '" onmouseover="document.title = \'pwned\'" autofocus onfocus="document.title = \'pwned\'" x="',
    "' onerror='document.title = 1' x='",
    "<svg/onload=document.title=1>",
    "javascript:document.title=1",
    "{{ 7 * 7 }}{% include 'page.html.jinja' %}",
    "&lt;script&gt;document.title = 'pwned'&lt;/script&gt;",
    "<!-- --!><script>document.title = 'pwned'</script>",
)
"""Texts that would run, if a page took them for its own."""


def png(width: int, height: int, compressed: bytes | None = None, extra: bytes = b"") -> bytes:
    """A black picture of one bit a pixel; `compressed` replaces its pixels."""
    if compressed is None:
        line, packer = bytes(1 + (width + 7) // 8), zlib.compressobj(9)
        parts = [packer.compress(line * min(1000, height - y)) for y in range(0, height, 1000)]
        compressed = b"".join(parts) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def npy(shape: str, dtype: str = "<f8", content: bytes = bytes(480)) -> bytes:
    """An .npy file that says it has a shape and a type."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def liar(path: Path, kind: str, target: str, port: int = 9) -> Path:
    """A playlist under another name."""
    path.write_text(PLAYLISTS[kind].format(target=target, port=port))
    return path
