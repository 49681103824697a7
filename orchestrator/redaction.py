"""Credentials, taken out of all that is printed, recorded or kept.

What counts as one is decided by the parsers that would use it. SQLAlchemy lets a password contain any character but
`@`; urllib, requests and fsspec end the user information at the last `@` before the first `/`, `?` or `#`; people
write passwords with these signs all the same, and the error that follows repeats them. So within a URL everything up
to the last `@` goes. Where that cannot be told from ordinary text, secrecy comes first.
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 8
"""Characters that a value of the environment must have to be looked for: shorter ones are words of ordinary texts."""
SHORTEST_PIECE = 3
"""Characters that a piece of a password must have to be looked for in a text that is known to be about its URL."""

_URL = re.compile(r"[A-Za-z][\w+.:-]*://")
"""The beginning of a text that is one URL, which may have spaces and line ends; fsspec chains schemes by `::`."""
_USER_OF_URL = re.compile(r"(://)(?!/)(?:[^/:]*:.*@|[^/:]*@)", re.DOTALL)

_ADDRESS = r"(?:\[[\da-fA-F:.%]*+\]|[^\s/:@\[]++)(?::\d{1,5}+)?(?:[^\s@\d:][^\s@]*)?(?:\s|$)"
"""A host, its port and a path, up to ordinary text that follows: an `@` in there is no part of the URL."""
_USER = re.compile(
    rf"(://)(?!/|{_ADDRESS})(?:[^\s/:]*:(?!\s)(?:(?!\s\S*://)[^\n])*@|[^\s/:]*@)"
    # A URL that was taken for a path has no two slashes in a row any more.
    r"|(\w:/)(?!/)[^\s/:@]+:[^\s@]+@"
)
_ENCODED_USER = re.compile(r"(%(?:25)*3A(?:%(?:25)*2F){2})\S*(?:%(?:25)*40|@)", re.IGNORECASE)
"""User information of a URL that is percent-encoded, however often, as a part of another."""
_USER_WITHOUT_SCHEME = re.compile(r"(?<![\w/@:.%+-])[\w.%+-]+:(?![\s/])[^\s@]+@(?!sha256:)(?=[\w\[])")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&?;#]*)=([^&]*)(&?)")
_SECRET_PARAMETER = re.compile(
    r"key|token|secret|passw|passphrase|pwd|signature|credential|jwt|bearer|connection_?string|odbc_connect|dsn"
    r"|(?:^|[-_.])(?:o?auth|authorization|pass|sig|sas)$",
    re.IGNORECASE,
)

_ASSIGNMENT = re.compile(
    r"""\b((?:[A-Za-z0-9]+[_-])*(?:password|passwd|passphrase|pwd|secret|
        (?:secret|access|account|api|private|storage|shared_?access)[_-]?key|
        (?:auth|access|refresh|session|security|bearer|sas|api|tracking|id)[_-]?token)
        (?:\s*=\s*|["']\s*:\s*(?=["'])))                              # as in Python and DSNs, or as in JSON
        ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,;&)\]}"']+)""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(r"(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer|token)\s+)?)[^\s\"',]+", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer\s+)(?=\S*\d)[\w.~+/-]{8,}=*", re.IGNORECASE)
_TOKEN = re.compile(r"()\b(?:eyJ[\w-]+\.[\w-]+\.[\w-]*|hf_[A-Za-z0-9]{20,})")
"""JSON Web Tokens and those of the Hugging Face hub."""

_SECRET_VARIABLE = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CONNECTION_STRING|(?:SECRET|ACCESS|ACCOUNT|STORAGE|API)_KEY)$"
)


def public(text: str, *urls: str) -> str:
    """A URL, or a text with URLs in it, without their credentials: what may be printed and recorded.

    Of `urls`, those that the text is about, not even pieces are left, into which other programs may break them.
    """
    # The passes, each over what the one before has left, with an example of what it is given and leaves:
    #   user information   postgresql://me:pa/s@s#1@db:5432/ml      postgresql://db:5432/ml      up to the last `@`
    #     in a sentence    no mysql://u:p@h/db, retrying            no mysql://h/db, retrying    up to that URL's `@`
    #     encoded, bare    http%3A%2F%2Fme%3Apw%40host, me:pw@host  http%3A%2F%2Fhost, host
    #   parameters         https://h/x?token=abc&y=1;sig=3          https://h/x?y=1              secret by their names
    #   phrases            password='a b', Authorization: Basic x   password=***, …: Basic ***   as in logs and DSNs
    #   known values       those of variables such as AWS_SECRET_ACCESS_KEY, and pieces of `urls`, wherever they stand
    # A text that is one URL may have spaces in it; in any other a space ends a URL, or its neighbours would go too.
    is_url = _URL.match(text) is not None
    shown = _USER_OF_URL.sub(r"\1", text, count=1) if is_url else text
    shown = _USER.sub(lambda found: found[1] or found[2], shown)
    shown = _USER_WITHOUT_SCHEME.sub("", _ENCODED_USER.sub(r"\1", shown))
    kept = _ordinary(shown) if is_url else re.sub(r"\S+", lambda word: _ordinary(word[0]), shown)
    shown = shown if kept == shown else kept.rstrip("?&;#")
    for pattern in (_ASSIGNMENT, _HEADER, _BEARER, _TOKEN):
        shown = pattern.sub(rf"\1{HIDDEN}", shown)
    for value in sorted({*_values(), *(piece for url in urls for piece in _pieces(url))}, key=len, reverse=True):
        shown = shown.replace(value, HIDDEN)
    return shown


def public_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command without credentials, those in `--option=URL` too."""
    shown = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        is_both = equals and option.startswith("-")
        shown.append(f"{option}={public(value)}" if is_both else public(argument))
    return shown


def first_line(error: BaseException, *urls: str) -> str:
    """The first line of an error's text, without credentials, as in `public`; later lines are other programs' words."""
    # Before it is cut into lines: a password may have several.
    text = public(str(error).strip(), *urls)
    return text.splitlines()[0] if text else type(error).__name__


def _ordinary(word: str) -> str:
    """A URL or a part of one without the parameters that are secret. Before a `?` a path has none."""
    query = re.search("[?#]", word) if "/" in word else re.search("", word)
    if query is None:
        return word
    return word[: query.start()] + _PARAMETER.sub(_unless_secret, word[query.start() :])


def _unless_secret(parameter: re.Match[str]) -> str:
    """The parameter found, or nothing for a secret one. Some parsers see more parameters in its value, after a `;`."""
    name, value, end = parameter.groups()
    if _SECRET_PARAMETER.search(unquote_plus(name)):
        return ""
    return f"{name}={_PARAMETER.sub(_unless_secret, value)}{end}"


def _pieces(url: str) -> list[str]:
    """The password of a URL, or a long name that is alone, and the values of secret parameters: whole and in pieces.

    `me:12/word@host` is a port and a path to some parsers, which complain of each.
    """
    found = _USER_OF_URL.search(url)
    name, _, password = found[0][3:-1].partition(":") if found else ("", "", "")
    secrets = [
        password or name * (len(name) >= SHORTEST),
        *(p[2] for p in _PARAMETER.finditer(url) if _unless_secret(p) == ""),
    ]
    return [
        piece
        for secret in secrets
        for form in (secret, unquote(secret), quote(secret, safe=""))
        for piece in (form, *re.split(r"[/?#@:\s]+", form))
        if len(piece) >= SHORTEST_PIECE
    ]


def _values() -> list[str]:
    """The values of environment variables that name a secret, as they are and percent-encoded."""
    named = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name) and len(value) >= SHORTEST]
    return [form for value in named for form in (value, quote(value, safe=""))]
