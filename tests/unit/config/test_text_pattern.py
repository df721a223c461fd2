"""Test what texts must look like, and that messages say it in words."""

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.config.dataset import Name
from tasks.config.toml_loader import NameOrFile


@pytest.mark.parametrize("text", ["", "Nightly", "two words", "ends\n", "1st", "ä", "a-b"])
def test_an_invalid_name_is_described_in_words_and_rejected_by_the_form(text: str) -> None:
    kind = TypeAdapter(Name)
    with pytest.raises(ValidationError, match="must be a lowercase letter followed by lowercase letters, digits and _"):
        kind.validate_python(text)
    assert "\n" in text or not re.search(kind.json_schema()["pattern"], text)  # in JavaScript, $ is the end


@pytest.mark.parametrize("text", ["post", "a/b.toml", "Other Place.toml"])
def test_a_name_or_a_file_is_accepted_by_both(text: str) -> None:
    kind = TypeAdapter(NameOrFile)
    assert kind.validate_python(text) == text
    assert re.search(kind.json_schema()["pattern"], text)
