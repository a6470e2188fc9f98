from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.errors import UnsupportedContent
from cf_gemma.request import remote_images
from cf_gemma.request.remote_images import RemoteImage
from tests.recorded.samples import RED_SQUARE
from tests.request.images import picture

if TYPE_CHECKING:
    from collections.abc import Iterable

URL = "https://images.example/red.png?size=16#top"


def _resolved(*addresses: str) -> list[tuple[Any, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]


def _question(url: bytes | str = URL) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}]


def test_images_that_are_no_addresses() -> None:
    """Images that are here already take a while, too, but are not asked for."""
    text = base64.b64encode(RED_SQUARE).decode()
    for image in (RED_SQUARE, text, f"data:image/png;base64,{text}"):
        assert remote_images.has_images(_question(image))
        assert remote_images.addresses(_question(image)) == []
    assert remote_images.addresses([*_question(), *_question(b"GIF8")]) == [URL]


def test_images_that_take_a_while() -> None:
    """Only what must be converted is left to another thread: not what is as it shall be, nor what is refused."""
    text = base64.b64encode(RED_SQUARE).decode()
    large = base64.b64encode(picture("PNG", (2_000, 20))).decode()
    for image in (large, RED_SQUARE, text * 100_000):
        assert remote_images.has_heavy_images([{"role": "user", "content": "hi"}, *_question(image)])
    for image in (text, f"data:image/png;base64,{text}", URL, "no image"):
        assert not remote_images.has_heavy_images(_question(image))


class Web:
    """The service and the host of the images, as one transport that keeps what it was asked."""

    def __init__(self, status: int = 200, **image: Any) -> None:
        self.status = status
        self.image = image
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.method == "GET":
            return httpx.Response(self.status, **self.image)
        choices = [{"index": 0, "message": {"role": "assistant", "content": "Red."}, "finish_reason": "stop"}]
        return httpx.Response(200, json={"result": {"choices": choices}, "success": True})


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every host resolves to."""
    addresses = ["93.184.215.14"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: _resolved(*addresses))
    return addresses


async def _ask(mode: str, web: Web, messages: Any = None, **settings: Any) -> str:
    where = {"account_id": "a", "api_token": "t", "max_tokens": 100, "inline_image_urls": True, **settings}
    messages = messages or _question()
    if mode == "sync":
        return Gemma(**where, http_client=httpx.Client(transport=httpx.MockTransport(web))).chat(messages).text
    model = AsyncGemma(**where, http_client=httpx.AsyncClient(transport=httpx.MockTransport(web)))
    return (await model.chat(messages)).text


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_inlined(mode: str, dns: list[str]) -> None:
    """An image is asked at the address that was checked, under its host's name, and goes along as a data: URL."""
    web = Web(content=RED_SQUARE)
    assert await _ask(mode, web) == "Red."
    image, question = web.asked
    assert str(image.url) == "https://93.184.215.14/red.png?size=16"
    assert image.headers["host"] == "images.example"
    assert image.extensions["sni_hostname"] == "images.example"
    assert "authorization" not in image.headers
    data_url = f"data:image/png;base64,{base64.b64encode(RED_SQUARE).decode()}"
    assert f'{{"url":"{data_url}","detail":"low"}}' in question.content.decode()


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_refused_unless_wanted(mode: str, dns: list[str]) -> None:
    """Without inline_image_urls no image is fetched, and nothing is sent."""
    web = Web(content=RED_SQUARE)
    with pytest.raises(UnsupportedContent, match="data: URL"):
        await _ask(mode, web, inline_image_urls=False)
    assert web.asked == []


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ({"status": 404}, "status 404"),
        ({"status": 302, "headers": {"location": "https://127.0.0.1/"}}, "redirects are not followed"),
        ({"headers": {"content-encoding": "gzip"}, "stream": httpx.ByteStream(b"")}, "compressed"),
        ({"content": b"\x89PNG" * 2_500_001}, "larger than 10,000,000 bytes"),
        ({"content": b"<html>not an image</html>"}, "not a PNG"),
    ],
    ids=["missing", "redirect", "compressed", "large", "html"],
)
async def test_not_to_be_had(mode: str, dns: list[str], image: dict[str, Any], complaint: str) -> None:
    """An image that isn't there, or isn't one, is an error before anything goes to the service."""
    web = Web(**image)
    with pytest.raises(UnsupportedContent, match=complaint):
        await _ask(mode, web)
    assert [request.method for request in web.asked] == ["GET"]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("image", [{"status": 404}, {"content": b"<html>not an image</html>"}], ids=["missing", "html"])
async def test_a_thread_goes_on_without_a_past_image(mode: str, dns: list[str], image: dict[str, Any]) -> None:
    """An image of an earlier question that can't be had any more is a line of text in its place."""
    web = Web(**image)
    answered = [*_question(), {"role": "assistant", "content": "Red."}, {"role": "user", "content": "And now?"}]
    assert await _ask(mode, web, answered) == "Red."
    assert "left out: " in web.asked[-1].content.decode()


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_private_host_is_not_asked(mode: str, dns: list[str]) -> None:
    """A host with one address inside is not asked, whatever its others are."""
    dns[:] = ["93.184.215.14", "10.0.0.7"]
    web = Web(content=RED_SQUARE)
    with pytest.raises(UnsupportedContent, match="not at a public address"):
        await _ask(mode, web)
    assert web.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",  # noqa: S104 - refused
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2001:db8::1",
        "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "240.0.0.1", "168.63.129.16", "100.100.100.200",
        "64:ff9b:1::1", "64:ff9b:1::5db8:d70e", "64:ff9b::a83f:8110", "::127.0.0.1", "::93.184.215.14",
        "::ffff:93.184.215.14", "::ffff:0:7f00:1", "2002:5db8:d70e::1", "2001::1", "2001:0:5db8:d70e::1",
        "2606:2800::5efe:7f00:1", "2606:2800::200:5efe:5db8:d70e", "fec0::1", "5f00::1", "3fff::1", "3ffe::1", "100::1",
        "100:0:0:1::1", "2001:2::1", "2001:20::1", "2620:4f:8000::1", "4000::1", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    """No address of this machine, its network or a cloud's metadata is asked, in any of the ways to write it."""
    with pytest.raises(UnsupportedContent, match="not at a public address"):
        RemoteImage.at(URL).message(_resolved(address))


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("93.184.215.14", "https://93.184.215.14:443/red.png?size=16"),
        ("2606:2800:21f:cb07::1", "https://[2606:2800:21f:cb07::1]:443/red.png?size=16"),
        ("64:ff9b::5db8:d70e", "https://[64:ff9b::5db8:d70e]:443/red.png?size=16"),
    ],
)
def test_public(address: str, asked: str) -> None:
    """A public address is asked itself, so that the host can't be at another one a moment later."""
    assert RemoteImage.at(URL).message(_resolved(address))["url"] == asked


@pytest.mark.parametrize(
    "url",
    ["http://images.example/a.png", "https://user:pass@images.example/a.png", "https:///a.png", "https://[::1/a.png",
     "https://images.example:99999/a.png", "ftp://images.example/a.png", "https://images.example:8443/a.png",
     "https://images.example:22/a.png"],
)  # fmt: skip
def test_malformed(url: str) -> None:
    """Only https URLs that name a host, and no user and no port but the usual, are asked."""
    with pytest.raises(UnsupportedContent, match="image's URL"):
        RemoteImage.at(url)


def test_no_address() -> None:
    """A host that resolves to nothing is not asked."""
    with pytest.raises(UnsupportedContent):
        RemoteImage.at(URL).message(_resolved())


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (_question(), [URL]),
        (_question("data:image/png;base64,AAAA"), []),
        ([*_question(), *_question()], [URL]),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": URL}]}], [URL]),
        ([{"role": "tool", "content": [{"type": "text", "text": URL}]}], []),
        ("a text", []),
        (None, []),
        ([{"role": "user", "content": [{"type": "image_url"}, None, 3]}], []),
    ],
)
def test_addresses(messages: Any, expected: Iterable[str]) -> None:
    """Addresses are found where images may be, each once, and nowhere else."""
    assert remote_images.addresses(messages) == expected


def test_callers_messages_stay(dns: list[str]) -> None:
    """The caller's messages are not changed."""
    question = _question()
    changed = remote_images.inlined(question, {URL: RED_SQUARE})
    assert question == _question()
    assert changed[0]["content"][0]["image_url"]["url"] == RED_SQUARE


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_given_clients_secrets_are_not_for_strangers(mode: str, dns: list[str]) -> None:
    """Headers, cookies and credentials of the caller's own client go to the service, and not to the image's host."""
    web = Web(content=RED_SQUARE)
    own: dict[str, Any] = {
        "transport": httpx.MockTransport(web),
        "headers": {"x-api-key": "canary"},
        "cookies": {"session": "canary"},
        "auth": ("user", "canary"),
    }
    where: dict[str, Any] = {"account_id": "a", "api_token": "t", "max_tokens": 100, "inline_image_urls": True}
    if mode == "sync":
        Gemma(**where, http_client=httpx.Client(**own)).chat(_question())
    else:
        await AsyncGemma(**where, http_client=httpx.AsyncClient(**own)).chat(_question())
    image, question = web.asked
    assert set(image.headers) == {"host", "accept", "accept-encoding"}
    assert question.headers["x-api-key"] == "canary"


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.b", "a\u2028b"])
async def test_a_host_that_can_not_be(host: str) -> None:
    """A host whose name can't exist has no image, like one that isn't there."""
    settings: dict[str, Any] = {"account_id": "a", "api_token": "t", "inline_image_urls": True}
    with pytest.raises(UnsupportedContent, match="no image from"):
        Gemma(**settings).chat(_question(f"https://{host}/a.png"))
    with pytest.raises(UnsupportedContent, match="no image from"):
        await AsyncGemma(**settings).chat(_question(f"https://{host}/a.png"))
