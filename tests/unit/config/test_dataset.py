import codecs
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.dataset import Archive, Dataset, load_dataset
from tasks.config.toml_loader import validate
from tasks.errors import DatasetError, InputError
from tests.support import data, odd


def test_mnist_comes_with_two_mirrors_and_the_offline_one_last() -> None:
    mirrors = load_dataset("mnist").mirrors
    assert [mirror.split(":")[0] for mirror in mirrors] == ["https", "https", "file"]


def test_mirrors_of_the_user_come_first(tmp_path: Path) -> None:
    mirrors = load_dataset("mnist", ["http://localhost/a", str(tmp_path)]).mirrors
    assert mirrors[:2] == ("http://localhost/a", tmp_path.as_uri())


def test_a_mirror_that_is_neither_url_nor_folder_is_refused() -> None:
    with pytest.raises(InputError, match="neither an http, https or file URL nor a folder"):
        load_dataset("mnist", ["ftp://host/"])


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    known = "emnist_digits, emnist_letters, fashion_mnist, kmnist, mnist"
    with pytest.raises(DatasetError, match=f"unknown dataset 'mnits': did you mean mnist. Otherwise, give {known}, or"):
        load_dataset("mnits")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"can't read the dataset .*none\.toml"):
        load_dataset(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is not TOML"):
        load_dataset(str(path))


def test_a_byte_order_mark_before_utf_8_is_no_fault(files: data.Files) -> None:
    path = files.toml()
    read = load_dataset(str(path))
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_dataset(str(path)) == read


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_another_encoding_is_named_with_the_remedy(files: data.Files, encoding: str) -> None:
    path = files.toml()
    path.write_bytes(path.read_text().replace("Tiny", "Zürich").encode(encoding))
    with pytest.raises(DatasetError, match=r"it is (UTF-16 or UTF-32|not UTF-8 \(line 2\)); save it as UTF-8"):
        load_dataset(str(path))


def test_an_archive_without_a_name_is_named_after_the_decoded_end_of_its_url() -> None:
    address = "https://host/a%20b%2Fc/train%20images.gz?download=1"
    archive = Archive.model_validate({"urls": [address], "bytes": 1, "sha256": "0" * 64})
    assert archive.name == "train_images.gz"


def test_addresses_of_one_ending_are_refused_with_what_to_write(files: data.Files) -> None:
    path = files.toml()
    path.write_text(
        re.sub(r'name = "(t10k-.*)"', r'urls = ["https://host/files/\1/content"]', path.read_text()), encoding="utf-8"
    )
    with pytest.raises(DatasetError, match=r'also called content; give each .* such as name = "test-labels.gz"'):
        load_dataset(str(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("count = 300", "count = 0", "test.count"),
        ("count = 300\n", "", "test.count is missing"),
        ("count = 300", 'count = "300"', "test.count must be an integer, got '300'"),
        ('title = "Tiny"', 'title = "Tiny"\ntransposed = 1', "transposed must be true or false, got 1"),
        ("shape = [28, 28]", "shape = [28]", "shape"),
        ('title = "Tiny"', 'title = "Tiny"\ncolor = "red"', "color is not a known key"),
        *(
            (
                f'name = "{data.NAMES["test"][0]}"',
                f'name = "{name}"',
                'test.images.name: an archive\'s name.* must consist of letters, .* such as name = "images.gz"',
            )
            for name in ("../outside.gz", "..", ".", "", "a/b.gz", ".gz", "a b.gz")
        ),
        (
            f'name = "{data.NAMES["test"][0]}"',
            'urls = ["http://host/"]',
            "test.images.name: .* the end of the first of its",
        ),
    ],
)
def test_a_half_specified_file_is_refused_with_the_field(files: data.Files, old: str, new: str, says: str) -> None:
    path = files.toml()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DatasetError, match=says):
        load_dataset(str(path))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_each_fault_of_any_invalid_content_is_reported_in_one_line(values: object) -> None:
    with pytest.raises(DatasetError) as caught:
        validate(values, Dataset, "the dataset", DatasetError)
    assert 1 <= len(caught.value.fault_lines) <= 8
    assert not any("\n" in line for line in caught.value.fault_lines)


def test_all_of_emnist_is_in_one_archive() -> None:
    digits, letters = load_dataset("emnist_digits"), load_dataset("emnist_letters")
    assert digits.archives() == letters.archives()
    assert [archive.name for archive in digits.archives()] == ["gzip.zip"]
    assert (letters.first_label, len(letters.classes)) == (1, 26)


def test_an_unpinned_archive_is_answered_with_the_command_that_pins_it(tmp_path: Path) -> None:
    path = odd.make(tmp_path / "odd")
    with pytest.raises(DatasetError) as caught:
        load_dataset(str(path))
    lines = caught.value.fault_lines
    assert [line.split()[3] for line in lines] == ["train.images", "train.labels", "test.images", "test.labels"]
    assert all(f" has no size or no SHA-256: `mnist dataset pin {path}`" in line for line in lines)


def test_archives_of_one_name_must_be_one_file(files: data.Files) -> None:
    path = files.toml()
    text = path.read_text()
    path.write_text(text.replace(data.NAMES["test"][1], data.NAMES["train"][1]))
    with pytest.raises(DatasetError, match="another archive is also called"):
        load_dataset(str(path))


def test_an_archives_own_addresses_come_after_the_users_mirrors_and_before_the_files(files: data.Files) -> None:
    path = files.toml()
    name = data.NAMES["test"][1]
    path.write_text(path.read_text().replace(f'name = "{name}"', f'urls = ["{name}", "https://host/{name}"]'))
    dataset = load_dataset(str(path), ["http://mine"])
    places = dataset.test.labels.candidate_urls(dataset.mirrors)
    own = f"{files.folder.as_uri()}/{name}"
    assert list(places) == [f"http://mine/{name}", own, f"https://host/{name}"]
    assert list(places.values()) == ["http://mine", files.folder.as_uri(), "https://host"]


def test_an_invalid_url_is_rejected(files: data.Files) -> None:
    path = files.toml()
    path.write_text(path.read_text().replace(f'name = "{data.NAMES["test"][1]}"', 'urls = ["nowhere.gz"]'))
    with pytest.raises(InputError, match=r"'nowhere.gz' is neither an http, https or file URL nor a file"):
        load_dataset(str(path))


def test_two_classes_of_one_name_are_refused(files: data.Files) -> None:
    path = files.toml()
    path.write_text(path.read_text().replace('"9"]', '"8"]'))
    with pytest.raises(DatasetError, match="'8' occurs more than once"):
        load_dataset(str(path))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("e\u0301", "\u00e9"),
        ("e\u034f\u0301", "\u00e9"),
        ("a", "a\u200b"),
        ("ab", "a\u2060b"),
        ("a", "a "),
        ("a b", "a  b"),
        ("a b", "a\u00a0b"),
        ("a b", "a\tb"),
        ("a", "a\ufe0f"),
        ("ab", "a\u034fb"),
        ("a", "a\u3164"),
        ("a", "a\U000e0100"),
    ],
)
def test_two_classes_that_look_the_same_are_refused(files: data.Files, one: str, other: str) -> None:
    path = files.toml(classes=(*"01234567", one, other))
    with pytest.raises(DatasetError, match="occurs more than once"):
        load_dataset(str(path))


def test_a_fault_of_a_shape_names_the_place_without_the_types_of_a_union(files: data.Files) -> None:
    path = files.toml()
    path.write_text(path.read_text().replace("shape = [28, 28]", "shape = [-28, 28]"))
    with pytest.raises(DatasetError, match=r": shape\.0 must be greater than 0, got -28"):
        load_dataset(str(path))


LONG = {
    'name = "tiny"': (f'name = "{"a" * 65}"', "name: String should have at most 64 characters"),
    '"9"]': (f'"{"9" * 201}"]', r"classes.9: String should have at most 200 characters"),
    '"8", "9"]': ('"8", " "]', r"classes.9 "),
    f'name = "{data.NAMES["test"][1]}"': (
        f'name = "{"ä" * 76}"',
        "test.labels.name: an archive's name may have at most 150 bytes",
    ),
}


@pytest.mark.parametrize("old", LONG)
def test_names_that_files_or_figures_have_no_room_for_are_refused(files: data.Files, old: str) -> None:
    path = files.toml()
    new, says = LONG[old]
    path.write_text(path.read_text().replace(old, new), encoding="utf-8")
    with pytest.raises(DatasetError, match=says) as caught:
        load_dataset(str(path))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_names_of_the_greatest_length_are_taken(files: data.Files) -> None:
    path = files.toml()
    text = path.read_text().replace('"9"]', f'"{"9" * 200}"]').replace('name = "tiny"', f'name = "{"a" * 64}"')
    path.write_text(text)
    assert len(load_dataset(str(path)).name) == 64


def test_the_license_may_be_spelled_as_in_earlier_versions(files: data.Files) -> None:
    path = files.toml()
    expected = load_dataset(str(path))
    path.write_text(path.read_text().replace("license =", "licence ="))
    assert load_dataset(str(path)) == expected


@pytest.mark.parametrize("name", ["\u200b", "\u3164", "\ufe0f"])
def test_a_class_without_a_visible_name_is_refused(files: data.Files, name: str) -> None:
    path = files.toml(classes=(*"012345678", name))
    with pytest.raises(DatasetError, match="each class name must contain a visible character"):
        load_dataset(str(path))
