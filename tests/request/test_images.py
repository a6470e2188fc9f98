from __future__ import annotations

import base64
import binascii
import io
import random
import re
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from cf_gemma.errors import UnsupportedContent
from cf_gemma.model.facts import IMAGE_BYTES, IMAGE_LONGEST_SIDE
from cf_gemma.request.images import ImageInfo, fitted, image_part, sniff
from tests.request.images import data_url, opened, picture

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
MODES = [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")] + [
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("GIF", mode) for mode in ("1", "L", "P", "RGB")),
]


def sent(source: bytes | str, **more: Any) -> str:
    """The URL that goes out."""
    return image_part(source, **more)["image_url"]["url"]


@pytest.mark.parametrize(("kind", "mode"), MODES)
@pytest.mark.parametrize("size", [(10, 10), (16, 300), (301, 11), (1024, 1024)])
def test_type_and_size_are_those_that_pillow_sees(kind: str, mode: str, size: tuple[int, int]) -> None:
    """The first bytes of an image tell what Pillow finds by reading all of it."""
    assert sniff(picture(kind, size, mode)) == ImageInfo(KINDS[kind], *size)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 1}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}]
)
def test_every_kind_of_webp(options: dict[str, Any]) -> None:
    """Lossy, lossless and extended WebP keep their size in different places."""
    assert sniff(picture("WEBP", (300, 77), **options)) == ImageInfo("image/webp", 300, 77)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"exif": Image.Exif()}, {"comment": b"x" * 60_000}, {"dpi": (72, 72)}]
)
def test_every_kind_of_jpeg(options: dict[str, Any]) -> None:
    """Baseline and progressive JPEGs, and segments before the size."""
    assert sniff(picture("JPEG", (300, 77), **options)) == ImageInfo("image/jpeg", 300, 77)


@pytest.mark.parametrize("padding", [1, 2, 3, 50])
def test_fill_bytes_in_a_jpeg(padding: int) -> None:
    """Any number of fill bytes may stand before a marker."""
    data = picture("JPEG", (300, 77))
    frame = data.index(b"\xff\xc0")
    assert sniff(data[:frame] + b"\xff" * padding + data[frame:]) == ImageInfo("image/jpeg", 300, 77)


@pytest.mark.parametrize(("kind", "mime_type"), [pair for pair in KINDS.items() if pair[0] != "GIF"])
def test_what_fits_goes_out_as_it_is(kind: str, mime_type: str) -> None:
    """Bytes, base64 text and data URLs of an image that the service takes give one and the same data URL."""
    data = picture(kind)
    url = data_url(data, mime_type)
    assert sent(data) == url
    assert sent(base64.b64encode(data).decode()) == url
    assert sent(url) == url
    assert sent(data_url(data, "image/bmp")) == url
    assert fitted(url) == url


@pytest.mark.parametrize(
    "text", ["DATA:image/png;BASE64,{}", " data:image/png;base64,{}\n", "data:image/png;base64,\n {}\n"]
)
def test_odd_spellings_of_a_data_url_are_made_straight(text: str) -> None:
    """Upper case and white space, which others might not read, don't go out."""
    data = picture()
    assert fitted(text.format(base64.encodebytes(data).decode())) == data_url(data)


def test_bits_that_stand_for_nothing_go_out_as_zeros() -> None:
    """Before padding, base64 has bits of no meaning; the one spelling that everybody takes goes out."""
    padding = -len(picture()) % 3 or 3
    data = picture() + b"x" * ((padding + 1) % 3)
    text = base64.b64encode(data).decode()
    assert text.endswith("=")
    odd = re.sub(r"(.)(=+)$", lambda end: chr(ord(end[1]) + 1) + end[2], text)
    assert base64.b64decode(odd) == data
    assert fitted(odd) == fitted(data_url(data).replace(text, odd)) == data_url(data)


def test_a_size_that_stands_far_behind_is_found() -> None:
    """What an editor wrote into a JPEG may stand before its size."""
    data = picture("JPEG", (300, 77), comment=b"x" * 60_000)
    assert fitted(base64.b64encode(data).decode()) == data_url(data, "image/jpeg")


def large(kind: str = "PNG", side: int = 300) -> bytes:
    """An image that no other test has, of which all bytes count."""
    return picture(kind, (side, side), "RGB", noise=True) + random.randbytes(3)


def test_what_fits_is_neither_decoded_nor_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that can go out as it is costs a look at its head and at its characters, however large it is."""
    lengths: list[int] = []
    for module, name in ((binascii, "a2b_base64"), (base64, "b64encode")):
        monkeypatch.setattr(module, name, _noting(lengths, getattr(module, name)))
    data = large()
    text = binascii.b2a_base64(data, newline=False).decode()
    assert fitted(f"data:image/png;base64,{text}") == fitted(text) == f"data:image/png;base64,{text}"
    assert len(text) > 100_000
    assert lengths
    assert sum(lengths) < 10_000


def _noting(lengths: list[int], function: Callable[[Any], Any]) -> Callable[..., Any]:
    def noted(given: Any, **options: Any) -> Any:
        lengths.append(len(given))
        return function(given, **options)

    return noted


SOURCES: dict[str, Callable[[], bytes | str]] = {
    "a data: URL": lambda: data_url(large()),
    "its base64": lambda: base64.b64encode(large()).decode(),
    "its bytes": large,
    "in lines": lambda: base64.encodebytes(large()).decode(),
    "wrongly declared": lambda: data_url(large(), "image/gif"),
    "to be scaled": lambda: data_url(large(side=1_100)),
    "bytes to be scaled": lambda: large(side=1_100),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_an_image_is_looked_at_once(source: Callable[[], bytes | str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation is sent with each of its turns, so an image that was sent isn't looked at, or scaled, again."""
    looks: list[int] = []
    monkeypatch.setattr("cf_gemma.request.images.sniff", _noting(looks, sniff))
    given = source()
    url = fitted(given)
    seen = len(looks)
    assert seen
    assert fitted(given[:5] + given[5:]) == url  # pyright: ignore[reportOperatorIssue] - both of one type
    assert len(looks) == seen


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_to_remember_an_image_does_not_keep_it(source: Callable[[], bytes | str]) -> None:
    """What was found is remembered and not the image, which may be large, and private."""
    given = source()
    before = sys.getrefcount(given)
    assert fitted(given).startswith("data:image/")
    assert sys.getrefcount(given) == before


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images that were scaled down the latest 32 are remembered: the one before them is scaled anew."""
    images = [large("GIF", 20) for _ in range(33)]
    for image in images:
        fitted(image)
    looks: list[int] = []
    monkeypatch.setattr("cf_gemma.request.images.sniff", _noting(looks, sniff))
    fitted(images[1])
    assert looks == []
    fitted(images[0])
    assert looks == [len(images[0])]


@pytest.mark.parametrize("text", ["AAAA", "not base64!", "https://host.test/a.png"])
def test_a_refusal_is_repeated(text: str) -> None:
    """What was refused is refused again."""
    for _ in range(2):
        with pytest.raises(UnsupportedContent):
            fitted(text)


@given(st.sampled_from([picture(kind) for kind in KINDS]) | st.binary(max_size=30), st.data())
def test_base64_is_what_python_takes_for_it(data: bytes, draw: st.DataObject) -> None:
    """Whatever is done to the text of an image, it is read as Python's strict decoder reads it, or refused."""
    characters = list(base64.b64encode(data).decode())
    for _ in range(draw.draw(st.integers(0, 3))):
        place = draw.draw(st.integers(0, len(characters)))
        characters[place : place + draw.draw(st.integers(0, 2))] = draw.draw(st.text("Az+/=-_ \n,é", max_size=2))
    text = "".join(characters)
    try:
        decoded = binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except ValueError:
        with pytest.raises(UnsupportedContent, match="base64"):
            fitted(text)
        return
    assert _outcome(text) == _outcome(f"data:image/png;base64,{text}") == _outcome(decoded)


def _outcome(source: bytes | str) -> str:
    try:
        return fitted(source)
    except UnsupportedContent as error:
        return str(error)


def test_detail_is_passed_on() -> None:
    """`detail` stands beside the URL when it was given, and not otherwise."""
    assert image_part(picture(), detail="low")["image_url"]["detail"] == "low"
    assert image_part(picture())["image_url"].keys() == {"url"}


@pytest.mark.parametrize(
    ("kind", "mode", "size", "result"),
    [
        ("PNG", "RGB", (2048, 1024), (1024, 512)),
        ("PNG", "RGBA", (1025, 20), (1024, 20)),
        ("PNG", "I;16", (2048, 1024), (1024, 512)),
        ("JPEG", "CMYK", (1024, 4096), (256, 1024)),
        ("WEBP", "RGB", (1200, 1200), (1024, 1024)),
        ("GIF", "P", (30, 20), (30, 20)),
        ("PNG", "RGB", (900, 900), (900, 900)),
    ],
)
def test_what_does_not_fit_is_scaled_down(kind: str, mode: str, size: tuple[int, int], result: tuple[int, int]) -> None:
    """Images over 1,024 px or 400 kB, and GIFs, go out as JPEGs within both."""
    data = picture(kind, size, mode, noise=mode == "RGB")
    url = sent(data)
    assert url.startswith("data:image/jpeg;base64,")
    assert opened(url).size == result
    assert len(base64.b64decode(url.partition(",")[2])) <= IMAGE_BYTES
    assert max(result) <= IMAGE_LONGEST_SIDE


def test_transparency_becomes_white() -> None:
    """What is see-through is white once scaled down, not black."""
    image = opened(sent(picture("PNG", (1100, 1100), "RGBA")))
    assert image.getpixel((500, 500)) == (255, 255, 255)


def test_a_photo_stays_upright() -> None:
    """A camera's note on how it was held is heeded when the image is scaled down, since the note gets lost."""
    upright = Image.new("RGB", (1200, 600), "white")
    upright.paste("red", (0, 0, 600, 600))
    exif = Image.Exif()
    exif[0x0112] = 6  # The top of the scene is at the right of the stored image.
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", exif=exif)
    image = opened(sent(buffer.getvalue()))
    assert image.size == (512, 1024)
    top, bottom = image.getpixel((256, 100)), image.getpixel((256, 900))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[1] < 100 < bottom[1]


def test_grey_of_16_bits_stays_grey() -> None:
    """A 16-bit image keeps its shades when it is scaled down."""
    buffer = io.BytesIO()
    Image.new("I;16", (1200, 1200), 30_000).save(buffer, "PNG")
    pixel = opened(sent(buffer.getvalue())).getpixel((500, 500))
    assert isinstance(pixel, tuple)
    assert pixel[0] == pytest.approx(117, abs=3)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (picture(size=(9, 100)), "9 x 100 px.*10 px"),
        (picture(size=(100, 9)), "100 x 9 px.*10 px"),
        (picture(size=(1, 1)), "1 x 1 px"),
        (picture(size=(5_000, 20)), "too narrow"),
        (picture()[:20], "px"),
        (picture(size=(1_100, 600), noise=True)[:-5_000], "damaged or cut off"),
        (b"", "not a PNG"),
        (b"not an image", "not a PNG"),
        (SVG, "not a PNG"),
        (picture("BMP"), "not a PNG"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a PNG"),
        (b"x" * 20_000_001, "not a PNG"),
        (picture() + b"\0" * 20_000_000, "too large to be scaled"),
        ("http://host.test/a.png", "image URL.*bytes"),
        ("HTTPS://host.test/a.png", "image URL.*bytes"),
        (" https://host.test/a.png", "image URL.*bytes"),
        ("http://169.254.169.254/", "image URL.*bytes"),
        ("file:///etc/passwd", "base64"),
        ("/etc/passwd", "base64"),
        ("picture.png", "base64"),
        ("", "not a PNG"),
        (base64.b64encode(picture()).decode()[:-1], "base64"),
        (base64.b64encode(picture()).decode() + "!", "base64"),
        (base64.b64encode(picture()).decode() + "é", "base64"),
        (data_url(SVG, "image/svg+xml"), "not a PNG"),
        ("data:image/png,%89PNG", "form data:image/png;base64"),
        ("data:image/png;base64", "form data:image/png;base64"),
        ("data:", "form data:image/png;base64"),
        (base64.b64encode(b"x" * 20_000_001).decode(), "20,000,001 bytes; 20,000,000 at most"),
    ],
    ids=lambda value: value if len(value) < 30 and isinstance(value, str) else "bytes",
)  # fmt: skip
def test_what_can_not_be_sent(source: bytes | str, message: str) -> None:
    """What isn't an image, is too small, is damaged or is an address is refused with what to do instead."""
    with pytest.raises(UnsupportedContent, match=message) as caught:
        image_part(source)
    assert len(str(caught.value)) < 250


def test_the_declared_type_stands_in_errors() -> None:
    """What an image was said to be helps to find it."""
    with pytest.raises(UnsupportedContent, match=r"the image \(image/heic\) is not"):
        image_part(b"....ftypheic", mime_type="image/heic")


@pytest.mark.parametrize("sides", [(60_000, 60_000), (10_000, 5_001)])
def test_a_decompression_bomb_is_refused_unread(sides: tuple[int, int]) -> None:
    """An image whose header promises too many pixels is not decoded."""
    data = bytearray(picture(size=(1100, 20)))
    data[16:24] = sides[0].to_bytes(4) + sides[1].to_bytes(4)
    with pytest.raises(UnsupportedContent, match="too large to be scaled down"):
        image_part(bytes(data))


def test_a_bomb_that_hides_its_size_is_refused() -> None:
    """Where the whole is larger than its header says, Pillow's own guard speaks, as one of our errors."""
    data = bytearray(picture("GIF", (40, 40)))
    frame = data.index(b",", 13)
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UnsupportedContent):
        image_part(bytes(data))


def test_without_pillow_the_remedy_is_named() -> None:
    """An image that fits needs no Pillow; one that doesn't is refused with what to install."""
    script = """
import sys
sys.modules["PIL"] = None
from cf_gemma.request import images
from cf_gemma.errors import UnsupportedContent
from cf_gemma import image_part
small, large = (bytes.fromhex(text) for text in sys.argv[1:])
image_part(small)
try:
    image_part(large)
except UnsupportedContent as error:
    print(error)
"""
    pictures = [picture(size=size).hex() for size in ((20, 20), (1100, 20))]
    run = subprocess.run([sys.executable, "-c", script, *pictures], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert 'pip install "cf-gemma[vision]"' in run.stdout
    assert "1100 x 20 px" in run.stdout


@given(st.binary(max_size=64) | st.sampled_from([picture(kind) for kind in KINDS]), st.data())
def test_any_bytes_are_an_image_or_refused(data: bytes, draw: st.DataObject) -> None:
    """Whatever bytes come, and whatever is done to an image's: sent or refused."""
    mutable = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4)) if data else 0):
        mutable[draw.draw(st.integers(0, len(mutable) - 1))] = draw.draw(st.integers(0, 255))
    try:
        url = sent(bytes(mutable))
    except UnsupportedContent as error:
        url = f"data:image/{error}"
    assert url.startswith("data:image/")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def two_headed(first: tuple[int, int], second: tuple[int, int]) -> bytes:
    """A PNG that says twice how large it is; Pillow believes the second."""
    sizes = [width.to_bytes(4) + height.to_bytes(4) for width, height in (first, second)]
    heads = [chunk(b"IHDR", size + b"\x08\x02\0\0\0") for size in sizes]
    pixels = zlib.compress(bytes(100), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(heads) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


EXIF = b"Exif\0\0MM\0*\0\0\0\x08"
ENTRY = b"\x01\x12\0\x03\0\0\0\x01"


def with_exif(exif: bytes, kind: str = "JPEG") -> bytes:
    """A picture to be scaled down with this EXIF."""
    return picture(kind, (1_200, 600), exif=exif)


def test_a_second_head_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Pillow takes a file for is held to the limit, too, before anything is decoded."""
    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    with pytest.raises(UnsupportedContent, match="can't be read"):
        sent(two_headed((1_100, 1_100), (8_000, 8_000)))
    assert decoded == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "size"),
    [
        (EXIF + b"\0\x01" + ENTRY + b"\0\x06\0\0", (512, 1024)),
        (EXIF + b"\0\x02" + bytes(12) + ENTRY + b"\0\x06\0\0", (512, 1024)),
        (EXIF + b"\xff\xff" + ENTRY + b"\0\x08\0\0", (512, 1024)),
        (EXIF + b"\0\x01" + ENTRY + b"\0\x63\0\0", (1024, 512)),
        (EXIF + b"\0\x01" + ENTRY[:5], (1024, 512)),
        (EXIF[:9], (1024, 512)),
        (b"Exif\0\0" + b"\xff" * 40, (1024, 512)),
        (EXIF + b"\0\x01\x01\x1a\0\x05\0\0\0\x01\xff\xff\xff\xff", (1024, 512)),
    ],
    ids=["turned", "behind another", "cut", "no turn", "cut entry", "cut head", "junk", "a fraction that is not there"],
)
def test_damaged_exif(kind: str, exif: bytes, size: tuple[int, int]) -> None:
    """Of EXIF its orientation counts and nothing else: what is damaged in it costs no image."""
    assert opened(sent(with_exif(exif, kind))).size == size


def test_exif_takes_no_memory() -> None:
    """Entries that all point to the same large place are not read."""
    entries = b"".join(tag.to_bytes(2) + b"\0\x07\0\0\xf0\0\0\0\0\x08" for tag in range(0x9000, 0x9000 + 4_000))
    exif = EXIF + b"\x0f\xa0" + entries + bytes(10_000)
    tracemalloc.start()
    assert opened(sent(with_exif(exif))).size == (1024, 512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_jpeg_of_many_scans_is_refused() -> None:
    """A progressive JPEG goes over its picture a dozen times; one that would a thousand times isn't decoded."""
    data = picture("JPEG", (1_200, 600), progressive=True)
    begin = data.rindex(b"\xff\xda")
    assert opened(sent(data)).size == (1024, 512)
    with pytest.raises(UnsupportedContent, match="can't be read"):
        sent(data[:begin] + data[begin:-2] * 200 + data[-2:])


@pytest.mark.parametrize("data", [b"\xff\xd8" + b"\xff" * 2_000_000, b"\xff\xd8" + b"\xff\xe1\0\2" * 500_000])
def test_an_odd_jpeg_is_given_up_soon(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither fill bytes nor segments without end are walked through."""
    looks = 0

    class Fill:
        def match(self, data: bytes, at: int) -> Any:
            nonlocal looks
            looks += 1
            return re.compile(rb"\xff+").match(data, at)

    monkeypatch.setattr("cf_gemma.request.images._FILL", Fill())
    with pytest.raises(UnsupportedContent):
        sent(data)
    assert looks < 20_000


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]), st.data())
@settings(max_examples=200)
def test_damaged_photos(kind: str, draw: st.DataObject) -> None:
    """A photo with EXIF that must be scaled down, damaged anywhere: sent or refused, and nothing else."""
    exif = {} if kind == "GIF" else {"exif": EXIF + b"\0\x01" + ENTRY + b"\0\x06\0\0"}
    data = bytearray(picture(kind, (1_030, 16), **exif))
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, min(len(data) - 1, 200)))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(data)))
    with suppress(UnsupportedContent):
        assert sent(bytes(data[:cut] if draw.draw(st.booleans()) else data)).startswith("data:image/")
