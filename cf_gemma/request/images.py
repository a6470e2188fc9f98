"""Images as the service takes them: data URLs of PNG, JPEG or WebP, neither too small nor too large."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from typing_extensions import override

from cf_gemma.errors import InvalidRequest, UnsupportedContent
from cf_gemma.model.facts import IMAGE_BYTES, IMAGE_LONGEST_SIDE, IMAGE_SHORTEST_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from PIL import Image

SOURCE_LIMIT: Final = 20_000_000
"""Bytes that an image may have before it is scaled down."""

PIXEL_LIMIT: Final = 50_000_000
"""Pixels that an image may have before it is scaled down: decoding more would take hundreds of megabytes."""

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PIECE: Final = 16_384
"""Characters of base64 that are looked at together: few enough to take no memory."""

_HEAD: Final = 4_096
"""Characters of base64 in which the size of most images is."""

_SEGMENTS: Final = 4_096
"""Segments of a JPEG in front of its picture: a profile of the largest size has 255."""

_SCANS: Final = 100
"""Times that a JPEG may go over its picture; ten are usual."""

_SCAN: Final = b"\xff\xda"
_EXIF: Final = 0xE1
_METADATA: Final = frozenset({*range(_EXIF, 0xF0), 0xFE} - {0xEE})
"""Markers of what isn't needed to decode a JPEG. EE says what its colours are."""

_ORIENTATION: Final = 0x0112
_TURNS: Final = dict(
    enumerate(
        ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2
    )
)
"""By EXIF's orientation, what makes an image upright."""

_FILL: Final = re.compile(rb"\xff+")

_REMEDY: Final = "pass the image's bytes, its base64 text, or a data: URL"


class ImageInfo(NamedTuple):
    """Type and size, from the first bytes of an image."""

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
    url = _of_bytes(source, mime_type) if isinstance(source, bytes) else _of_text(source, mime_type)
    image_url: dict[str, Any] = {"url": url}
    if detail is not None:
        image_url["detail"] = detail
    return {"type": "image_url", "image_url": image_url}


def image_file(path: Path, name: str = "") -> bytes:
    """The bytes of an image's file: no more than an image may have, and none of what has no end, such as a device.

    Raises InvalidRequest, with `name` for the file, by default its path, where it can't be read.
    """
    reason = "it is not a file"
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with path.open("rb") as file:
                return file.read(SOURCE_LIMIT + 1)
    except OSError as error:
        reason = str(error.strerror)
    except ValueError:
        reason = "no file can have that name"
    raise InvalidRequest(f"image {name or path} can't be read: {reason}")


def fitted(source: bytes | str) -> str:
    """The same image as a `data:` URL that the service takes, scaled down if need be. Raises UnsupportedContent.

    A conversation is sent anew with each of its turns, so what was found of an image is remembered: of 1,024 that may
    go out as they are, and what became of 32 others, 17 MB at most.
    """
    if isinstance(source, str) and (ready := _as_it_stands(source)) is not None:
        return _url(ready.mime_type, source, ready.begin)
    data = source if isinstance(source, bytes) else source.encode(errors="surrogatepass")
    return _made(_Source(source, (type(source), hashlib.sha256(data).digest())))


def must_be_converted(source: bytes | str) -> bool:
    """Whether an image can't go out as it stands, so that to make its request takes a while. Wrong ones take none."""
    if isinstance(source, bytes) or len(source) > 2 * IMAGE_BYTES:  # not read here: to check that much takes a while
        return True
    try:
        return _as_it_stands(source) is None
    except UnsupportedContent:
        return False


class _Source:
    """An image as it was given, known by a key, so that to remember something of it doesn't keep it in memory."""

    __slots__ = ("_key", "_source")

    def __init__(self, source: bytes | str, key: tuple[object, object]) -> None:
        self._source, self._key = source, key

    @override
    def __hash__(self) -> int:
        return hash(self._key)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self._key == other._key

    def take(self) -> Any:
        """The image, once."""
        source, self._source = self._source, b""
        return source


class _Ready(NamedTuple):
    """What is known of a text whose base64 may go out as it stands there."""

    mime_type: str
    begin: int


def _as_it_stands(source: str) -> _Ready | None:
    """None for an image that must be converted."""
    return _ready(_Source(source, (hash(source), len(source))))


@lru_cache(maxsize=1_024)
def _ready(source: _Source) -> _Ready | None:
    """Only facts are cached, never the text: hashes may collide."""
    content = source.take()
    text, begin = _base64(content)
    info = _info(text, begin, None)
    return _Ready(info.mime_type, begin) if text is content and _fits(_size(text, begin), info) else None


@lru_cache(maxsize=32)
def _made(source: _Source) -> str:
    content = source.take()
    return _of_bytes(content, None) if isinstance(content, bytes) else _of_text(content, None)


def sniff(data: bytes) -> ImageInfo | None:
    """Type and size from an image's first bytes; None when they are not those of a PNG, JPEG, WebP or GIF."""
    for mime_type, magic, size in _FORMATS:
        if magic(data):
            width, height = size(data)
            return ImageInfo(mime_type, width, height)
    return None


def _of_bytes(data: bytes, declared: str | None) -> str:
    info = _acceptable(sniff(data), declared)
    if not _fits(len(data), info):
        return _scaled(data, info)
    return _url(info.mime_type, base64.b64encode(data).decode())


def _of_text(source: str, declared: str | None) -> str:
    text, begin = _base64(source)
    info = _info(text, begin, declared)
    if not _fits(_size(text, begin), info):
        return _scaled(binascii.a2b_base64(text[begin:]), info)
    return _url(info.mime_type, text, begin)


def _url(mime_type: str, text: str, begin: int = 0) -> str:
    """The `data:` URL with this base64; the text itself where it is that already."""
    head = f"data:{mime_type};base64,"
    return text if begin == len(head) and text.startswith(head) else head + text[begin:]


def _size(text: str, begin: int) -> int:
    """How many bytes the base64 stands for."""
    return (len(text) - begin) // 4 * 3 - text[-2:].count("=")


def _info(text: str, begin: int, declared: str | None) -> ImageInfo:
    """Type and size, for which no more of the image is decoded than they need."""
    if (size := _size(text, begin)) > SOURCE_LIMIT:
        raise UnsupportedContent(f"the image has {size:,} bytes; {SOURCE_LIMIT:,} at most")
    info = sniff(binascii.a2b_base64(text[begin : begin + _HEAD]))
    # A JPEG's size stands behind all that a camera or an editor wrote into it.
    return _acceptable(info if info is None or info.width else sniff(binascii.a2b_base64(text[begin:])), declared)


def _acceptable(info: ImageInfo | None, declared: str | None) -> ImageInfo:
    if info is None:
        label = f" ({declared})" if declared else ""
        raise UnsupportedContent(f"the image{label} is not a PNG, JPEG, WebP or GIF; convert it first")
    if min(info.width, info.height) < IMAGE_SHORTEST_SIDE:
        raise UnsupportedContent(
            f"the image is {info.width} x {info.height} px; the service takes {IMAGE_SHORTEST_SIDE} px a side and more"
        )
    return info


def _fits(size: int, info: ImageInfo) -> bool:
    return info.mime_type != "image/gif" and size <= IMAGE_BYTES and max(info.width, info.height) <= IMAGE_LONGEST_SIDE


def _base64(source: str) -> tuple[str, int]:
    """A text, and where in it the base64 begins, which is checked and in the one spelling that its bytes have."""
    text, begin = source.strip(), 0
    if text[:8].lower().startswith(("http://", "https://")):
        raise UnsupportedContent(
            f"an image URL can't be sent: the service takes no addresses; {_REMEDY}, or set inline_image_urls=True"
        )
    if text[:5].lower() == "data:":
        begin = text.find(",") + 1
        if not text[:begin].lower().endswith(";base64,"):
            raise UnsupportedContent("the image's data: URL must be of the form data:image/png;base64,…")
    if not _is_straight(text, begin):
        try:
            data = binascii.a2b_base64("".join(text[begin:].split()).encode("ascii"), strict_mode=True)
        except ValueError:
            raise UnsupportedContent(f"the image is not valid base64; {_REMEDY}") from None
        text, begin = base64.b64encode(data).decode(), 0
    return text, begin


def _is_straight(text: str, begin: int) -> bool:
    """Whether it is base64 as an encoder writes it. To look at the characters costs a tenth of decoding them."""
    pieces = (text[at : at + _PIECE] for at in range(begin, len(text), _PIECE))
    others = b"".join(piece.encode(errors="replace").translate(None, _ALPHABET) for piece in pieces)
    if (len(text) - begin) % 4 or others not in (b"", b"=", b"==") or not text.endswith(others.decode()):
        return False
    # In front of padding are bits that stand for nothing.
    return not others or base64.b64encode(binascii.a2b_base64(text[-4:])).decode() == text[-4:]


def _scaled(data: bytes, info: ImageInfo) -> str:
    """The image as the URL of a JPEG within the limits, transparency on white."""
    label = f"the image ({info.mime_type}, {info.width} x {info.height} px, {len(data):,} bytes)"
    if info.width * info.height > PIXEL_LIMIT or len(data) > SOURCE_LIMIT:
        raise UnsupportedContent(f"{label} is too large to be scaled down here")
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedContent(
            f"{label} must be a PNG, JPEG or WebP of at most {IMAGE_LONGEST_SIDE} px a side and {IMAGE_BYTES:,} bytes: "
            'scale it down, or have it done with pip install "cf-gemma[vision]"'
        ) from None
    try:
        image = _upright(data, info.mime_type.removeprefix("image/").upper())
    except Exception:  # noqa: BLE001 - no document says what Pillow raises for damaged images; struct.error, for one
        raise UnsupportedContent(f"{label} can't be read: it is damaged or cut off") from None
    if min(image.size) < IMAGE_SHORTEST_SIDE:
        raise UnsupportedContent(f"{label} is too narrow to be scaled down to {IMAGE_LONGEST_SIDE} px")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    for quality in (85, 70, 50):
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= IMAGE_BYTES:
            break
    return _url("image/jpeg", base64.b64encode(buffer.getvalue()).decode())


def _upright(data: bytes, kind: str) -> Image.Image:
    """The image within the limits, and as the camera was held. `kind` is Pillow's name of its form."""
    from PIL import Image

    plain, turned = _plain_jpeg(data) if kind == "JPEG" else (data, 0)
    with Image.open(io.BytesIO(plain), formats=[kind]) as opened:
        if opened.width * opened.height > PIXEL_LIMIT:
            raise ValueError("another head than the first says that it is too large")
        opened.thumbnail((IMAGE_LONGEST_SIDE, IMAGE_LONGEST_SIDE))
        turned = turned or _orientation(opened.info.get("exif", b""))
        # What says how the camera was held doesn't outlive this; and 16-bit grey would be cut off, not converted.
        image = (opened.point(_eight_bits) if opened.mode.startswith("I") else opened).convert("RGBA")
    return image.transpose(Image.Transpose[_TURNS[turned]]) if turned in _TURNS else image


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
    if kind != b"VP8 ":
        return 0, 0
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int]:
    for marker, at, _ in _segments(data):
        # Start-of-frame segments, without the tables (C4, C8, CC) that share their range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
    return 0, 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG up to its picture: the marker of each, where it begins, and where it ends."""
    end = 2
    for _ in range(_SEGMENTS):
        fill = _FILL.match(data, end)
        if fill is None or fill.end() + 3 > len(data):
            return
        begin = fill.end() - 1  # any number of fill bytes may stand before a marker
        end = begin + 2 + int.from_bytes(data[begin + 2 : begin + 4])
        yield data[begin + 1], begin, end


def _plain_jpeg(data: bytes) -> tuple[bytes, int]:
    """A JPEG without its metadata, and its orientation. Pillow reads all of them, which may take any memory.

    Raises ValueError for one without a picture, or that would have to be decoded a hundred times.
    """
    kept, orientation = [data[:2]], 0
    for marker, begin, end in _segments(data):
        if marker == _EXIF:
            orientation = orientation or _orientation(data[begin + 4 : end])
        if marker not in _METADATA:
            kept.append(data[begin:end])
        if marker == _SCAN[1]:
            break
    else:
        raise ValueError("no picture")
    plain = b"".join([*kept, data[end:]])
    if plain.count(_SCAN) > _SCANS:
        raise ValueError("too many scans")
    return plain, orientation


def _orientation(exif: bytes) -> int:
    """What the one entry for it says; 0 where there is none. Nothing else of EXIF is read: it is damaged often."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    at = int.from_bytes(tiff[4:8], order)
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(tiff[at : at + 2], order), 12):
        if int.from_bytes(tiff[entry : entry + 2], order) == _ORIENTATION:
            return int.from_bytes(tiff[entry + 8 : entry + 10], order)
    return 0


_FORMATS: Final[tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...]] = (
    ("image/png", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("image/jpeg", lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    ("image/webp", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    ("image/gif", lambda data: data.startswith(b"GIF8"), _gif),
)
