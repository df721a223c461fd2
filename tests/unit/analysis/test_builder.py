import base64

import pytest

from tests.support.samples import SPLIT, TRAIN, analysis_of_two


def test_the_document_holds_every_shown_picture_with_every_answer() -> None:
    document = analysis_of_two()
    assert [m.errors for m in document.models] == [4, 1]
    assert set(document.by_index) == {1, 3, 4, 5}
    picture = document.by_index[4]
    assert base64.b64decode(picture.pixels) == SPLIT.images[4].tobytes()
    assert [answer.predicted for answer in picture.answers] == [0, 0]
    assert picture.answers[1].probability == pytest.approx(0.99)
    assert document.model_validate_json(document.model_dump_json()) == document


def test_wrong_answers_are_explained_and_right_ones_need_none() -> None:
    for picture in analysis_of_two().pictures:
        for answer in picture.answers:
            assert (answer.explanation is None) == (answer.predicted == picture.label)


def test_every_training_image_that_is_named_is_held() -> None:
    document = analysis_of_two()
    named = {
        near.index
        for picture in document.pictures
        for answer in picture.answers
        if answer.explanation
        for near in answer.explanation.neighbors
    }
    label_issues = {issue.index for issue in document.label_issues[1].shown}
    assert named == {2, 5}
    assert 4 in label_issues
    assert set(document.training_by_index) == named | label_issues
    assert base64.b64decode(document.training_by_index[2].pixels) == TRAIN.images[2].tobytes()


def test_every_shown_image_is_held() -> None:
    document = analysis_of_two()
    galleries = [pattern.shown for pattern in document.patterns] + [group.shown for group in document.groups]
    galleries += [model.confident_errors for model in document.models]
    galleries.append(tuple(issue.index for issue in document.label_issues[0].shown))
    assert {index for gallery in galleries for index in gallery} <= set(document.by_index)
