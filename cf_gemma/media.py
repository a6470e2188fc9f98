"""Images as the service takes them: data URLs of PNG, JPEG or WebP, neither too small nor too large."""

from __future__ import annotations

import base64
import binascii
import io
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from cf_gemma.errors import UnsupportedContent
from cf_gemma.model import IMAGE_BYTES, IMAGE_LONGEST_SIDE, IMAGE_SHORTEST_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE_LIMIT: Final = 20_000_000
"""Bytes that an image may have before it is scaled down."""

PIXEL_LIMIT: Final = 50_000_000
"""Pixels that an image may have before it is scaled down: decoding more would take hundreds of megabytes."""

_REMEDY: Final = "pass the image's bytes, its base64 text, or a data: URL"


class ImageInfo(NamedTuple):
    """What the first bytes of an image say."""

    mime_type: str
    width: int
    height: int


def image_part(
    source: bytes | str, *, mime_type: str | None = None, detail: Literal["auto", "low", "high"] | None = None
) -> dict[str, Any]:
    """A chat-completions `image_url` part.

    Args:
        source: The image: its bytes, their base64 text, or a `data:` URL.
        mime_type: What the image is said to be; used in errors only, since the bytes themselves tell.
        detail: Passed on.

    Raises:
        UnsupportedContent: It isn't a PNG, JPEG, WebP or GIF, is smaller than 10 px a side, or is larger than 1,024 px
            or 400 kB and Pillow (extra `vision`) isn't installed to scale it down.
    """
    data = source if isinstance(source, bytes) else _bytes(source)
    image_url: dict[str, Any] = {"url": _data_url(data, mime_type)}
    if detail is not None:
        image_url["detail"] = detail
    return {"type": "image_url", "image_url": image_url}


def fitted(url: str) -> str:
    """The same image as a `data:` URL that the service takes, scaled down if need be. Raises UnsupportedContent."""
    return _data_url(_bytes(url), None)


def sniff(data: bytes) -> ImageInfo | None:
    """Type and size from an image's first bytes; None when they are not those of a PNG, JPEG, WebP or GIF."""
    for mime_type, magic, size in _FORMATS:
        if magic(data):
            width, height = size(data)
            return ImageInfo(mime_type, width, height)
    return None


def _data_url(data: bytes, declared: str | None) -> str:
    info = sniff(data)
    if info is None:
        told = f" ({declared})" if declared else ""
        raise UnsupportedContent(f"the image{told} is not a PNG, JPEG, WebP or GIF; convert it first")
    if min(info.width, info.height) < IMAGE_SHORTEST_SIDE:
        raise UnsupportedContent(
            f"the image is {info.width} x {info.height} px; the service takes {IMAGE_SHORTEST_SIDE} px a side and more"
        )
    mime_type = info.mime_type
    if not _fits(data, info):
        data, mime_type = _scaled(data, info), "image/jpeg"
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


def _fits(data: bytes, info: ImageInfo) -> bool:
    sides = (info.width, info.height)
    return (
        info.mime_type != "image/gif"
        and len(data) <= IMAGE_BYTES
        and max(sides) <= IMAGE_LONGEST_SIDE
        and min(sides) >= IMAGE_SHORTEST_SIDE
    )


def _bytes(source: str) -> bytes:
    text = source.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        raise UnsupportedContent(
            f"an image URL can't be sent: the service takes no addresses; {_REMEDY}, or set inline_image_urls=True"
        )
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise UnsupportedContent("the image's data: URL must be of the form data:image/png;base64,…")
    try:
        data = binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except ValueError:
        raise UnsupportedContent(f"the image is not valid base64; {_REMEDY}") from None
    if len(data) > SOURCE_LIMIT:
        raise UnsupportedContent(f"the image has {len(data):,} bytes; {SOURCE_LIMIT:,} at most")
    return data


def _scaled(data: bytes, info: ImageInfo) -> bytes:
    """The image as a JPEG within the limits, transparency on white."""
    told = f"the image ({info.mime_type}, {info.width} x {info.height} px, {len(data):,} bytes)"
    if info.width * info.height > PIXEL_LIMIT or len(data) > SOURCE_LIMIT:
        raise UnsupportedContent(f"{told} is too large to be scaled down here")
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise UnsupportedContent(
            f"{told} must be a PNG, JPEG or WebP of at most {IMAGE_LONGEST_SIDE} px a side and {IMAGE_BYTES:,} bytes: "
            'scale it down, or have it done with pip install "cf-gemma[vision]"'
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.thumbnail((IMAGE_LONGEST_SIDE, IMAGE_LONGEST_SIDE))
            # What says how the camera was held doesn't outlive this; and 16-bit grey would be cut off, not converted.
            upright = ImageOps.exif_transpose(opened)
            image = (upright.point(_eight_bits) if upright.mode.startswith("I") else upright).convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise UnsupportedContent(f"{told} can't be read: it is damaged or cut off") from None
    if min(image.size) < IMAGE_SHORTEST_SIDE:
        raise UnsupportedContent(f"{told} is too narrow to be scaled down to {IMAGE_LONGEST_SIDE} px")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    for quality in (85, 70, 50):
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= IMAGE_BYTES:
            break
    return buffer.getvalue()


def _eight_bits(value: float) -> float:
    return value * (1 / 256)


def _png(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _gif(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        # Start-of-frame segments, without the tables (C4, C8, CC) that share their range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        # Any number of fill bytes may stand before a marker.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0, 0


_FORMATS: Final[tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...]] = (
    ("image/png", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("image/jpeg", lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    ("image/webp", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    ("image/gif", lambda data: data.startswith(b"GIF8"), _gif),
)
