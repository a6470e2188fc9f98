"""Images on the web, put into messages as data: URLs. Decides which may be fetched, and fetches none itself. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from cf_gemma.errors import UnsupportedContent
from cf_gemma.model.json_object import as_object
from cf_gemma.request.messages import newest_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

FETCH_LIMIT: Final = 10_000_000
"""Bytes that an image on the web may have."""

FETCH_SECONDS: Final = 60.0
"""Seconds that one image may take to come, however steadily it drips."""

PORT: Final = 443

_V4_SPECIAL: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            # A public address that a cloud's machines know as their own host (learn.microsoft.com, "What is IP address
            # 168.63.129.16?").
            "168.63.129.16/32",
        ),
    )
)
"""IANA's registry of special addresses (2026-11), whole: of those that are reachable no pictures are served."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_V6_PUBLIC: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out as global unicast; the rest of IPv6 is reserved, local, or wraps something."""

_V6_SPECIAL: Final = tuple(
    map(
        ipaddress.IPv6Network,
        # 2002 wraps IPv4 and is out of use (RFC 7526); 3ffe was a network of tests.
        ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20", "2002::/16"),
    )
)
"""The same for what of IANA's registry is in there."""

_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""What stands in front of the IPv4 address that an interface's id is made of (RFC 5214)."""


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""

    url: str
    host: str
    port: int
    since: float
    """When the fetch began, in seconds of any clock."""
    data: bytearray = field(default_factory=bytearray, repr=False)

    @classmethod
    def at(cls, url: str, now: float = 0.0) -> Self:
        """The image with this URL, not fetched yet."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or PORT
        except ValueError:
            raise UnsupportedContent("an image's URL is malformed") from None
        if parts.scheme != "https" or not host or parts.username is not None:
            raise UnsupportedContent("an image's URL must begin with https:// and name a host, without a user")
        if port != PORT:
            raise UnsupportedContent(f"an image's URL must be at port {PORT}")
        return cls(url, host, port, now)

    def message(self, resolved: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
        """What to GET: at the very address that was checked, under the host's name. `resolved` is of getaddrinfo.

        Refused when the host has any address that is not public: it would be asked in this machine's name.
        """
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in resolved]
        if not addresses or not all(_is_public(address) for address in addresses):
            raise UnsupportedContent(f"the image's host {self.host} is not at a public address, and is not asked")
        address = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
        parts = urlsplit(self.url)
        return {
            "url": parts._replace(netloc=f"{address}:{self.port}", fragment="").geturl(),
            "headers": {"host": parts.netloc, "accept": "image/*", "accept-encoding": "identity"},
            "extensions": {"sni_hostname": self.host},
        }

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Takes the beginning of the answer."""
        if status != 200:
            raise self.missing(f"status {status}; redirects are not followed")
        if headers.get("content-encoding", "identity") != "identity":
            raise self.missing("it came compressed, which was not asked for")

    def left(self, now: float) -> float:
        """Seconds left of the limit, counted from the request."""
        return max(0.0, self.since + FETCH_SECONDS - now)

    def feed(self, chunk: bytes, now: float) -> None:
        """Takes a piece of the image."""
        self.data.extend(chunk)
        if not self.left(now):
            raise self.missing(f"it took longer than {FETCH_SECONDS:g} s")
        if len(self.data) > FETCH_LIMIT:
            raise self.missing(f"it is larger than {FETCH_LIMIT:,} bytes")

    def missing(self, reason: str) -> UnsupportedContent:
        """The error for an image that can't be had."""
        return UnsupportedContent(f"no image from {self.host}: {reason}")


def has_images(messages: object) -> bool:
    """Whether any message has an image, so that making the request may take a while."""
    return any(True for _ in _image_urls(messages))


def addresses(messages: object) -> list[str]:
    """The web addresses of images in these messages, each once."""
    urls = (image_url["url"] for image_url in _image_urls(messages))
    texts = (url for url in urls if isinstance(url, str))
    return list(dict.fromkeys(url for url in texts if url[:8].lower().startswith(("http://", "https://"))))


def may_be_missing(messages: Sequence[Mapping[str, Any]], url: str) -> bool:
    """Whether the image stands in the past only, where a line of text takes its place if it can't be had."""
    return url not in addresses([messages[place] for place in newest_places(messages)])


def inlined(messages: Sequence[Mapping[str, Any]], images: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The messages with these images in place of their addresses. The caller's own objects are left as they are."""
    return [
        {**message, "content": [_inlined_part(part, images) for part in cast("list[object]", message["content"])]}
        if isinstance(message.get("content"), list)
        else dict(message)
        for message in messages
    ]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """By lists of our own: those of `ipaddress` differ from one version of Python to the next."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _V4_SPECIAL)
    if address in _NAT64:  # networks without IPv4 of their own reach all of it so
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address not in _V6_PUBLIC or any(address in network for network in _V6_SPECIAL):
        return False
    return int(address) >> 32 & 0xFFFFFFFF not in _ISATAP


def _image_urls(messages: object) -> Iterator[dict[str, Any]]:
    for message in cast("list[object]", messages) if isinstance(messages, list | tuple) else []:
        content = (as_object(message) or {}).get("content")
        for part in cast("list[object]", content) if isinstance(content, list) else []:
            if (url := _image_url(part)) is not None:
                yield url


def _image_url(part: object) -> dict[str, Any] | None:
    fields = as_object(part) or {}
    if fields.get("type") != "image_url":
        return None
    source = fields.get("image_url")
    image_url = {"url": source} if isinstance(source, str) else as_object(source) or {}
    return image_url if isinstance(image_url.get("url"), str | bytes) else None


def _inlined_part(part: object, images: Mapping[str, bytes]) -> object:
    image_url = _image_url(part)
    if image_url is None or image_url["url"] not in images:
        return part
    return {"type": "image_url", "image_url": {**image_url, "url": images[image_url["url"]]}}
