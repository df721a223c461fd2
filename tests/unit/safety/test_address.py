import base64
import copy
import json
import logging
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tasks.config.dataset import Dataset, load_dataset
from tasks.config.toml_loader import validate
from tasks.engine.cache import identity
from tasks.errors import DatasetError, InputError, ServerError
from tasks.safety import redaction
from tasks.safety.address import Address, hide
from tasks.safety.redaction import environment_secrets, public_address, redact, redact_all_output
from tasks.schemas.records import ArchiveRecord, FileRecord
from tasks.storage.backend import open_root
from tests.support import data

SHOWN = {
    "http://user:SECRET@host/p": "http://***@host/p",
    "http://SECRET@host/": "http://***@host/",
    "http://host:80/p?token=SECRET&SECRET#SECRET": "http://host:80/p?token=***&***#***",
    "http://host/p;key=SECRET/q": "http://host/p;key=***/q",
    "http://user:SE/CRET@host/x": "http://***@host/x",
    "http://user:SE#CRET@host/x": "http://***@host/x",
    "http://user:SE?CRET@host/x": "http://***@host/x",
    "http://us:er:SEC@RET@host": "http://***@host",
    "http://user:SE@CR/ET@host/x?k=SECRET@x": "http://***@host/x?k=***",
    "http:/user:SECRET@host/x": "http:/***@host/x",
    "//user:SECRET@host/x": "//***@host/x",
    "user:SECRET@host/x": "***@host/x",
    "http://host:SECRET": "http://host:***",
    "s3://KEY:SECRET@bucket/prefix": "s3://***@bucket/prefix",
    "postgresql+asyncpg://me:SECRET@db:5432/prefect": "postgresql+asyncpg://***@db:5432/prefect",
}
PLAIN = [
    "http://host:8080/@scope/x",
    "https://host/pkg:name@v1/x",
    "https://host:8080/pkg:name@v1/x",
    "http://[::1]:80/x",
    "file:///a/b@c/d",
    "/a/b:c@d",
    "C:\\a@b",
    "data",
    "dask://HOST:PORT",
]


@pytest.mark.parametrize("whole", SHOWN)
def test_an_address_shows_no_secret_however_it_is_printed(whole: str) -> None:
    address = Address(whole)
    assert address.reveal() == whole
    assert public_address(public_address(whole)) == SHOWN[whole]
    as_json = TypeAdapter(Address).dump_json(address).decode()
    for shown in (str(address), f"{address}", f"{address:s}", "%s" % address, json.loads(json.dumps(address)),  # noqa: UP031
                  json.loads(as_json), address + "", f"{address}", pickle.loads(pickle.dumps(address)),  # noqa: S301
                  address.encode().decode(), TypeAdapter(str).validate_python(address)):  # fmt: skip
        assert shown == SHOWN[whole]
    assert repr(address) == repr(SHOWN[whole])
    assert (copy.copy(address).reveal(), copy.deepcopy([address])[0].reveal()) == (whole, whole)


@pytest.mark.parametrize("whole", PLAIN)
def test_a_text_without_a_secret_stays_unchanged(whole: str) -> None:
    assert Address(whole) == whole == redact(whole)


SAFE = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%/?#: ", min_size=8)


@given(SAFE, st.sampled_from(["http", "https", "s3", "ftp"]))
def test_no_password_is_shown_whatever_it_is_made_of(password: str, scheme: str) -> None:
    assert public_address(f"{scheme}://user:p{password}@host/x") == f"{scheme}://***@host/x"


def test_addresses_that_differ_in_their_secrets_alone_differ() -> None:
    one, other = Address("http://a:1@host/"), Address("http://a:2@host/")
    assert one != other
    assert len({one: 1, other: 2}) == 2
    assert one == "http://***@host/"


def test_a_file_of_a_folder_keeps_the_credentials_of_the_folder() -> None:
    child = Address("https://user:SECRET@host/mnist/?sig=SECRET").child("a.gz")
    assert child.reveal() == "https://user:SECRET@host/mnist/a.gz?sig=SECRET"
    assert child == "https://***@host/mnist/a.gz?sig=***"


def test_hidden_addresses_are_known_only_to_the_process_that_hid_them() -> None:
    given_ = {
        "mirrors": ("http://a:1@host/hidden", "http://a:2@host/hidden", "plain"),
        "gate": True,
        "runner": "dask://u:1@h:1",
    }
    hidden = hide(given_)
    assert hidden == {
        "mirrors": ["http://***@host/hidden", "http://***2@host/hidden", "plain"],
        "gate": True,
        "runner": "dask://***@h:1",
    }
    assert [Address(one).reveal() for one in hidden["mirrors"]] == list(given_["mirrors"])  # type: ignore[call-overload]
    assert hide(hidden) == hidden
    assert Address("http://***@another/").lacks_secrets


def test_a_path_is_handed_on_as_it_is() -> None:
    paths = {"root": "a:b@c", "dataset": "/x/a:b@c?d.toml", "recipes": ["x:y@z.toml"], "epochs": None}
    assert hide(paths) == paths


def test_no_error_of_ours_shows_a_secret(tmp_path: Path, files: data.Files) -> None:
    with pytest.raises(InputError) as mirror:
        load_dataset("mnist", ["ftp://user:canary@host/?k=canary"])
    with pytest.raises(InputError) as bare:
        load_dataset("mnist", ["user:canary@host/x"])
    with pytest.raises(InputError) as root:
        open_root("s3://KEY:canary@bucket/prefix")
    with pytest.raises(DatasetError) as table:
        validate({"name": "http://user:canary@host/" + "x" * 100}, Dataset, "the dataset", DatasetError)
    with pytest.raises(DatasetError) as missing:
        load_dataset("http://user:canary@host/x.toml")
    path = files.toml()
    path.write_text(path.read_text().replace(f'name = "{data.NAMES["test"][1]}"', 'urls = ["http://user:canary@host"]'))
    with pytest.raises(DatasetError) as named:
        load_dataset(str(path))
    other = ServerError("no server at http://user:canary@host/api")
    for error in (mirror.value, bare.value, root.value, table.value, missing.value, named.value, other):
        assert "***@" in str(error)
        assert "canary" not in repr(error)


def test_credentials_change_neither_a_dataset_nor_a_cache_key(files: data.Files) -> None:
    plain = load_dataset(str(files.toml()), ["http://host/"])
    secret = load_dataset(str(files.toml()), ["http://user:SECRET@host/?k=SECRET"])
    assert identity(plain) == identity(secret)
    assert secret.model_dump_json() == plain.model_dump_json()
    assert "SECRET" not in repr(secret)
    assert secret.mirrors[0].reveal() == "http://user:SECRET@host/?k=SECRET"


def test_a_record_of_an_earlier_version_is_read_without_its_secrets() -> None:
    file = FileRecord(path="archives/x", bytes=1, sha256="0" * 64)
    kept = ArchiveRecord(name="x", file=file, mirror="http://u:SECRET@h/", failed_mirrors=("http://u:SECRET@g/: 404",))
    assert (kept.mirror, kept.failed_mirrors) == ("http://***@h/", ("http://***@g/: 404",))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PREFECT_API_KEY", "canary-key-1", "the key canary-key-1 is unknown"),
        ("PREFECT_API_AUTH_STRING", "admin:canary-pw-2", "canary-pw-2"),
        ("PREFECT_CLIENT_CUSTOM_HEADERS", '{"Authorization": "Bearer canary-3"}', "Bearer canary-3"),
        ("PREFECT_CLIENT_CUSTOM_HEADERS", '["canary-list"]', "['canary-list']"),
        ("MNIST_WEBHOOK", "https://hooks.example/services/canary-4", "POST https://hooks.example/services/canary-4"),
        ("MNIST_WEBHOOK", "https://hooks.example/services/canary-4", "at /services/canary-4"),
        ("AWS_SECRET_ACCESS_KEY", "/canary+five/5", "signed with /canary+five/5"),
        ("AWS_SECRET_ACCESS_KEY", "/canary+five/5", "signed with %2Fcanary%2Bfive%2F5"),
        ("HTTPS_PROXY", "http://user:canary-6@proxy", "user:canary-6 was refused"),
        ("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://u:canary-77@db/p", "role u, canary-77"),
        ("PREFECT_REDIS_MESSAGING_PASSWORD", "canary-8888", "AUTH canary-8888"),
        ("PREFECT_API_AUTH_STRING", "admin:canary-9", f"Basic {base64.b64encode(b'admin:canary-9').decode()}"),
        ("PREFECT_AUTH", "mnist:canary-10", "the password canary-10"),
        ("MYSQL_PWD", "canaryword", "canaryword"),
        ("SMTP_PASS", "canaryword", "canaryword"),
        ("GITHUB_PAT", "ghp_canary11", "ghp_canary11"),
        ("SIGNING_KEY", "canary12", "canary12"),
        ("PRIVATE_KEY", "-----BEGIN-----\ncanary-line-1\ncanary-line-2\n", "canary-line-2 ends"),
        ("PRIVATE_KEY", "canary-'1\\\ncanary-line-2\n", repr("x canary-'1\\\ncanary-line-2\n")),
        ("PREFECT_API_URL", "http://u:one/canary-13@host", "no host canary-13"),
        ("ANY", "", "b'HTTP/1.1', 302, [(b'Location', b'/b?X-Sig=canary'), (b'Set-Cookie', b'a=\\'canary')]"),
        ("ANY", "", "> Authorization: Basic canary"),
        ("ANY", "", "< Location: /canary"),
        ("ANY", "", '{\\"X-API-Key\\": \\"canary\\"}'),
        ("ANY", "", "Invalid port: 'canary'"),
    ],
)  # fmt: skip
def test_secrets_of_the_environment_are_masked_in_any_text(
    name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert "***" in redact(text)
    assert not re.search("canary|Y2FuYXJ5", redact(text))


def test_a_log_record_and_its_traceback_are_redacted(caplog: pytest.LogCaptureFixture) -> None:
    redact_all_output()
    logger = logging.getLogger("some.library")
    with caplog.at_level(logging.INFO):
        logger.info("GET %s %d", "http://user:SECRET@host/?k=SECRET", 200)
        try:
            raise ValueError("http://user:SECRET@host/")
        except ValueError:
            logger.exception("it failed")
    assert "GET http://***@host/?k=*** 200" in caplog.text
    assert "ValueError: http://***@host/" in caplog.text
    assert "SECRET" not in caplog.text


def test_an_error_that_nobody_catches_is_printed_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("http://user:SECRET@host/")
    redaction.show_redacted(ValueError, error, None)
    assert capsys.readouterr().err == "ValueError: http://***@host/\n"


def test_names_of_secrets_and_words_that_hold_them_are_no_secrets() -> None:
    names = ("SECRET_NAME", "TOKENIZERS_PARALLELISM", "SECRET_TYPE", "PWD", "OLDPWD", "SORT_KEY", "PATH", "AUTH_MODE")
    assert not list(environment_secrets(dict.fromkeys(names, "training-job")))
    for name in (
        "MY_TOKEN",
        "TOKENS",
        "API_KEY_2",
        "PGPASSWORD",
        "AWS_ACCESS_KEY_ID",
        "PREFECT_API_AUTH_STRING",
        "webhook",
    ):
        assert "training-job" in list(environment_secrets({name: "training-job"})), name


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_secret_that_looks_like_deeply_nested_json_is_masked_as_a_whole(opening: str) -> None:
    value = opening * 20_000
    assert value in list(environment_secrets({"MY_TOKEN": value}))


def test_a_link_to_documentation_stays_whole() -> None:
    line = "see https://www.prefect.io/docs/v3/how-to-guides/workflows/write-and-run#timeouts for more"
    assert redact(line) == line
    assert "SECRET" not in redact("see https://host/#access_token=SECRET-VALUE")
