"""Images made for the tests."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image


def picture(
    kind: str = "PNG", size: tuple[int, int] = (16, 12), mode: str = "RGB", *, noise: bool = False, **save: Any
) -> bytes:
    """The bytes of an image; `noise` keeps it from being compressed."""
    image = Image.effect_noise(size, 100).convert(mode) if noise else Image.new(mode, size, 0)
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()


def data_url(data: bytes, mime_type: str = "image/png") -> str:
    """The bytes as a data: URL."""
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


def opened(url: str) -> Image.Image:
    """The image of a data: URL, read by Pillow."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
