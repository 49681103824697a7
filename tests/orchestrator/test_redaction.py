"""No credential survives, whoever would take it for one; ordinary text does."""

import json
import shlex
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from requests import Session
from requests.exceptions import RequestException
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from orchestrator.redaction import first_line, public, public_arguments


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://me:swordfish@host:5000/api", "https://host:5000/api"),
        ("https://me:sword@fish@host", "https://host"),
        ("postgresql+psycopg://me:swordfish@host/db", "postgresql+psycopg://host/db"),
        ("s3://bucket/a?secret_key=swordfish", "s3://bucket/a"),
        ("s3://bucket/a?secret_key=swordfish&region=eu", "s3://bucket/a?region=eu"),
        ("s3://bucket/a?region=eu&access_key=swordfish", "s3://bucket/a?region=eu"),
        ("sqlite:////home/p@ul/runs/mlflow.db", "sqlite:////home/p@ul/runs/mlflow.db"),
        ("GET http://me:swordfish@host/a?token=swordfish failed, twice", "GET http://host/a? failed, twice"),
        ("postgresql://u:se/cret@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db"),
        ("postgresql://u:se cret?#:[@]@host/db", "postgresql://host/db"),
        ("http://me:sword#fish@host", "http://host"),
        ("https://ghp_swordfish@github.com/a", "https://github.com/a"),
        ("simplecache::s3://key:sword/fish@bucket/runs", "simplecache::s3://bucket/runs"),
        ("s3:/key:swordfish@bucket is none", "s3:/bucket is none"),
        ("postgresql://host/db?user=me&password=sword fish", "postgresql://host/db?user=me"),
        ("postgresql://host/db?pass%77ord=swordfish", "postgresql://host/db"),
        ("http://host/a?b=1;token=swordfish", "http://host/a?b=1"),
        ("http://host/a#access_token=swordfish", "http://host/a"),
        ("s3://b/a?X-Amz-Credential=sword&X-Amz-Date=1&X-Amz-Signature=fish", "s3://b/a?X-Amz-Date=1"),
        ("https://b/a?sv=1&sig=swordfish&se=2", "https://b/a?sv=1&se=2"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dswordfish", "mssql+pyodbc:///"),
        (
            "at http://host:5000/?to=postgresql%3A%2F%2Fme%3Asword%40host&a=1",
            "at http://host:5000/?to=postgresql%3A%2F%2Fhost&a=1",
        ),
        ("http://[::1]:5000/a", "http://[::1]:5000/a"),
        (
            "Max retries exceeded with url: /api/2.0?token=swordfish (Caused by",
            "Max retries exceeded with url: /api/2.0? (Caused by",
        ),
        ('cannot resolve "me:sword/fish@host"', 'cannot resolve "host"'),
        ("no host=h password='sword \\' fish' user=me", "no host=h password=*** user=me"),
        ("DRIVER={X};UID=me;PWD=swordfish;", "DRIVER={X};UID=me"),
        ("AccountName=me;AccountKey=swordfish==;", "AccountName=me"),
        ("{'secret_access_key': 'swordfish', 'region': 'eu'}", "{'secret_access_key': ***, 'region': 'eu'}"),
        ("Authorization: Basic c3dvcmRmaXNo", "Authorization: Basic ***"),
        ("{'Authorization': 'Bearer swordfish'}", "{'Authorization': 'Bearer ***'}"),
        ("sent Bearer sword.fish-123 twice", "sent Bearer *** twice"),
    ],
)
def test_what_may_be_shown_of_a_url(url: str, shown: str) -> None:
    assert public(url) == shown


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("a\nb"), "a"),
        (OSError("\n"), "OSError"),
        (ValueError("no http://me:swordfish@host"), "no http://host"),
    ],
)
def test_the_first_line_of_an_error(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(
    "text",
    [
        "Is it out of memory?",
        "Ask a@b.example or git@github.com:a/b.",
        "See http://host:5000/a for the reason, or ask a@b.example.",
        "The server at http://host:5000 is down; a@b.example knows.",
        "/home/p@ul/u:p@b/runs is full (100 %)",
        "s3://bucket/me@b.example/runs",
        "/data/a;key=b&token=c/mlflow.db",
        "sqlite:////data/a;key=b&token=c/mlflow.db",
        "file:///data/u:p@b/runs",
        "sha256 of image:0.1@sha256:12ab",
        "`weight` must be at least 0, but is -1 instead.",
        "cs 0.5: step 4 of 8, validation CER 12.5 %",
        "pad_token='[PAD]', max_tokens=5, sorted(rows, key=len)",
        "Bearer authentication is needed, and a password",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert public(text) == text


# A secret must not be a part of what is shown by right, nor of what stands for what is hidden.
RIGHTLY = (
    "simplecache::postgresql+a.b://host.example:5432/database?region=eu&&& [::1]; no a there, failed: /a; "
    "'x' (Caused by Connection refused), twice, and token="
)
SECRETS = st.text(min_size=4, max_size=12).filter(lambda text: text not in f"{RIGHTLY}***" and text.strip() == text)


@given(SECRETS, st.sampled_from(["postgresql", "http", "s3", "simplecache::s3", "a+b"]))
def test_no_password_of_a_url_survives(secret: str, scheme: str) -> None:
    """Whatever the parsers make of it: they differ, and the person meant a password."""
    url = f"{scheme}://user:{secret}@host.example:5432/database"
    assert secret not in public(url)
    assert public(url).endswith("host.example:5432/database")
    assert secret not in "".join(public_arguments(["--storage", url, f"--storage={url}"]))


@given(
    st.text(st.characters(exclude_characters=":/")),
    SECRETS.filter(lambda text: "@" not in text),
    st.sampled_from(["", "host", "[::1]:5432"]),
)
def test_no_password_that_sqlalchemy_finds_survives(user: str, secret: str, host: str) -> None:
    url = f"postgresql://{user}:{secret}@{host}/database"
    found = str(make_url(url).password)
    assert found in unquote(secret)
    assume(found not in f"postgresql://{host}/database")
    assert found not in public(url)


LINE = SECRETS.filter(lambda text: len(text.splitlines()) == 1 and not text[0].isdigit() and "://" not in text)


@given(LINE, st.sampled_from(["{}", "no {} there", "'{}' (Caused by)", "failed: {}/a?region=eu: Connection refused"]))
def test_no_password_survives_in_what_is_told(secret: str, text: str) -> None:
    url = f"postgresql://user:{secret}@host.example:5432"
    shown = public(text.format(url))
    assert secret not in shown
    assert shown == text.format("postgresql://host.example:5432")


@given(SECRETS, st.sampled_from(["password", "token", "sig", "X-Amz-Signature", "AWSAccessKeyId", "api_key", "jwt"]))
def test_no_secret_of_a_query_survives(secret: str, name: str) -> None:
    value = secret.replace("&", "%26")
    assume(value not in "http://host.example/a?region=eu")
    assert value not in public(f"http://host.example/a?region=eu&{name}={value}")
    encoded = quote(secret, safe="")
    assume(encoded not in RIGHTLY)
    shown = public(f"failed: /a?{name}={encoded}&region=eu, twice")
    assert encoded not in shown
    assert shown.endswith("/a?region=eu, twice")


@given(SECRETS)
def test_hiding_twice_hides_no_more(secret: str) -> None:
    shown = public(f"no http://user:{secret}@host?password={secret} and token={secret}")
    assert public(shown) == shown


@pytest.mark.parametrize(
    "url",
    ["http://me:sword/fish@127.0.0.1:9/a", "http://me:sword#fish@127.0.0.1:9", "http://me:sword@fish@127.0.0.1:9"],
)
def test_what_requests_says_of_a_url(url: str) -> None:
    with pytest.raises(RequestException) as error:
        Session().get(url, timeout=1)
    assert "sword" not in first_line(error.value, url)
    assert "fish" not in first_line(error.value, url)


def test_of_a_url_that_a_text_is_about_no_piece_is_left() -> None:
    assert public("of fish/bone, fish%2Fbone and bone", "http://me:fish%2Fbone@host") == "of ***, *** and ***"
    assert public("of swordfish", "https://swordfish@host") == "of ***"
    assert public("of fish", "http://host?token=fish&region=eu") == "of ***"
    assert public("no /fish of me:fish", "http://me:12/fish@host") == "no /*** of me:***"
    assert public("no /mlflow of mlflow", "postgresql://mlflow@host/mlflow") == "no /mlflow of mlflow"


def test_what_sqlalchemy_says_of_a_url() -> None:
    with pytest.raises(Exception, match="swordfish") as error:
        create_engine("sqlite://me:x@swordfish/a").connect()
    assert "me:" not in first_line(error.value)


def test_values_of_the_environment_are_hidden_wherever_they_turn_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, f"sword/fish of {name}")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "ordinary")
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/me/token")
    monkeypatch.setenv("GITHUB_TOKEN", "short")
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD"):
        assert public(f"signed by sword/fish of {name}.") == "signed by ***."
        assert public(f"signed by {quote(f'sword/fish of {name}', safe='')}.") == "signed by ***."
    assert public("ordinary, short: /home/me/token") == "ordinary, short: /home/me/token"


def test_a_command_stays_one_that_a_shell_takes() -> None:
    arguments = [
        "--storage=s3://key:sword'fish@bucket/a b",
        "--tracking-uri",
        "http://me:sword fish@host?a=1",
        "--name",
        "a=b",
    ]
    shown = public_arguments(arguments)
    assert shown == ["--storage=s3://bucket/a b", "--tracking-uri", "http://host?a=1", "--name", "a=b"]
    assert shlex.split(shlex.join(shown)) == shown
    assert json.loads(json.dumps(shown)) == shown
