"""Test the names that runs get, whatever name a user or Prefect gave them, and their tags."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.screen import _NAME
from tasks.schemas.names import automatic_tags, is_automatic, run_name, slug_of, slug_without_date
from tasks.schemas.root_paths import path_part
from tasks.storage.folders import RUN_NAME

DUE = datetime(2026, 11, 27, 2, tzinfo=UTC)


@given(st.text() | st.from_regex(r"\d{8}-\d{6}-\w*"), st.timedeltas(timedelta(0), timedelta(days=9999)))
def test_any_name_becomes_a_name_of_a_folder_that_stays_as_it_is(given_name: str, later: timedelta) -> None:
    due = DUE + later
    name = run_name(given_name, due)
    assert RUN_NAME.fullmatch(path_part(name))
    assert name.isascii()
    assert len(name) + len("-2") <= _NAME, "tables break longer words"
    assert run_name(name, due) == name, "a retried run keeps its name"


def test_the_date_of_another_run_takes_no_room_in_a_name() -> None:
    long = "a-very-long-name-of-a-run-number"
    assert slug_without_date(f"20261126-020000-{long}") == long[:30]
    assert run_name(slug_without_date(f"20261126-020000-{long}"), DUE) == f"20261127-020000-{long[:30]}"


@pytest.mark.parametrize(
    ("given_name", "slug"),
    [
        ("weightless-skylark", "weightless-skylark"),
        ("My night ä/1", "my-night-a-1"),
        ("  two\nlines\t", "two-lines"),
        ("../../etc/passwd", "etc-passwd"),
        ("Größe — №2", "grosse-no2"),
        ("CON", "con"),
        ("-rf", "rf"),
        ("\udcff\x1b[31m", "31m"),
        ("x" * 1000, "x" * 30),
        ("a" * 29 + " b", "a" * 29),
        ("", ""),
        (" \n", ""),
        ("...", ""),
        ("夜間", ""),
    ],
)
def test_a_name_keeps_its_letters_and_digits(given_name: str, slug: str) -> None:
    assert slug_of(given_name) == slug
    assert run_name(given_name, DUE) == f"20261127-020000-{slug or 'run'}"


def test_the_date_of_another_run_is_replaced() -> None:
    assert run_name("20261126-020000-nightly", DUE) == "20261127-020000-nightly"
    assert run_name("20261127-020000-nightly", DUE) == "20261127-020000-nightly"


def test_the_date_is_that_of_utc() -> None:
    assert run_name("x", datetime(2026, 11, 27, 1, tzinfo=timezone(timedelta(hours=2)))) == "20261126-230000-x"


def test_a_run_and_a_study_have_tags_of_their_parameters() -> None:
    assert automatic_tags("mnist", ["post"], "main") == ("dataset:mnist", "recipe:post", "line:main")
    study = automatic_tags("kmnist", ["post", "onecycle"])
    assert study == ("dataset:kmnist", "recipe:post", "recipe:onecycle")
    assert all(is_automatic(tag) for tag in study)
    assert not any(is_automatic(tag) for tag in ("trial", "line", "deadline:1", ""))
    assert re.fullmatch(r"[\w:]+", study[0]), "no spaces, so that a filter needs no quotes"
