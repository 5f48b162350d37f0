"""What ``--url`` names."""

import pytest

from tfocheck.errors import UsageError
from tfocheck.model.target import Target
from tfocheck.model.url import parse_url


@pytest.mark.parametrize(
    ("text", "site", "path"),
    [
        ("http://example.com", Target("example.com", 80), "/"),
        ("https://example.com:/", Target("example.com", 443), "/"),
        ("HTTPS://Example.COM:8443/a/b?c=d&e", Target("example.com", 8443), "/a/b?c=d&e"),
        ("http://[2001:DB8::1]:81/x#y", Target("2001:db8::1", 81), "/x"),
        ("http://192.0.2.1?q", Target("192.0.2.1", 80), "/?q"),
        ("http://bücher.example/ü%20x", Target("xn--bcher-kva.example", 80), "/%C3%BC%20x"),
        ('http://x/"<>', Target("x", 80), "/%22%3C%3E"),
    ],
)
def test_urls(text: str, site: Target, path: str) -> None:
    url = parse_url(text)
    assert (url.site, url.path) == (site, path)
    assert url.is_https == text.lower().startswith("https")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no URL such as https://example.com/path"),
        ("example.com", "is no URL such as"),
        ("ftp://example.com/", "is no URL such as"),
        ("http:///path", "is no URL such as"),
        ("http://[::1/", "is no URL: "),
        ("http://user:secret@example.com/", "a user's name is not sent"),
        ("http://example.com:99999/", "a port is a number from 1 to 65535"),
        ("http://exa_mple..com/", "is no host name"),
        ("http://x/a b", "has a space or control character"),
        ("http://x/\r\nHost: y", "has a space or control character"),
    ],
)
def test_what_is_no_url_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="--url") as caught:
        parse_url(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
