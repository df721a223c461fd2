"""Test how the terminal, the page and the JSON document of `mnist predict` show predictions and doubts about them."""

import base64
import html
import io

import numpy as np
import pytest
from PIL import Image

from artifacts.common.images import left_out_url
from artifacts.report.renderer import pictures_page
from artifacts.report.text import describe_answer, describe_left_out, false_alarms
from artifacts.terminal import show_predictions
from tasks.schemas.doubt import DoubtLimits, Judgment
from tasks.schemas.findings import Answer, Share
from tasks.schemas.results import ClassifiedPicture, ClassPrediction, LeftOut, PredictResult

SHAPE = (2, 2)
LABELED = DoubtLimits(
    labeled=True, temperature=1.2, confidence=0.7, distance=1.5, scale=2.0, reference=10_000, chosen_on=2000,
    false_alarms=Share(count=60, total=1900, low=0.024, high=0.041), caught=Share(count=50, total=100, low=0.4, high=0.6),
)  # fmt: skip
UNLABELED = LABELED.model_copy(update={"labeled": False, "temperature": None, "caught": None})


def encode_file(image: Image.Image, kind: str) -> str:
    stream = io.BytesIO()
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def classified(probability: float = 0.9, judgment: Judgment | None = None, **values: object) -> PredictResult:
    guess = ClassPrediction(label="7", probability=probability, probabilities={"7": probability}, judgment=judgment)
    original = encode_file(Image.new("RGB", (4, 4), "white"), "JPEG")
    picture = ClassifiedPicture(path="a/mine.png", pixels="AAAAAA==", original=original, guesses={"plain": guess})
    picture = picture.model_copy(update=values)
    return PredictResult(run="r", pictures=(picture,), limits={"plain": LABELED}, page="page.html")


def page_of(result: PredictResult) -> str:
    return html.unescape(pictures_page(result, SHAPE))


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, ">99.99 %"), (0.99996, ">99.99 %"), (0.0, "<0.01 %"), (0.125, "12.50 %")]
)
def test_no_probability_is_shown_as_certain(value: float, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = classified(value, Judgment(confidence=value, distance=1.0))
    show_predictions(result)
    assert f"7, {shown}" in capsys.readouterr().out
    assert page_of(result).count(shown) == 2
    told = describe_answer(Answer(predicted=0, probability=value, label_probability=value), 1, ("7", "8"))
    assert " 100.0 %" not in told
    assert " 0.0 %" not in told


def test_a_doubtful_prediction_is_marked_in_the_terminal_in_json_and_on_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = classified(judgment=Judgment(confidence=0.6, distance=2.0, doubts=("low confidence",)))
    show_predictions(result)
    said = capsys.readouterr().out
    assert "doubtful" in said
    assert "plain: low confidence" in said
    (picture,) = result.model_dump()["pictures"]
    assert picture["doubtful"]
    assert picture["guesses"]["plain"]["judgment"]["doubts"] == ("low confidence",)
    page = page_of(result)
    assert "doubtful: low confidence" in page
    assert '<figure class="card doubtful">' in page
    assert "1 of 1 image is doubtful" in page
    usual = classified(judgment=Judgment(confidence=0.9, distance=1.0))
    show_predictions(usual)
    assert "doubtful" not in capsys.readouterr().out
    assert not usual.pictures[0].doubtful
    assert '<figure class="card">' in page_of(usual)


def test_doubt_about_what_a_picture_shows_marks_the_picture() -> None:
    result = classified(doubts=("it shows more than one character",))
    assert result.pictures[0].doubtful
    assert "mine.png; doubtful: it shows more than one character" in page_of(result)


def test_the_measured_rate_of_false_alarms_is_stated_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    result = classified(judgment=Judgment(confidence=0.9, distance=1.0))
    stated = "3.16 % (95 % interval 2.40 to 4.10) of 1,900 correct predictions for held-out training images"
    show_predictions(result)
    assert stated in capsys.readouterr().out
    assert stated in page_of(result)
    assert "50.00 % (95 % interval 40.00 to 60.00) of the wrong predictions are marked" in page_of(result)
    assert result.model_dump()["limits"]["plain"]["false_alarms"]["count"] == 60


def test_a_rate_measured_without_labels_is_called_an_upper_bound() -> None:
    result = classified().model_copy(update={"limits": {"plain": UNLABELED}})
    page = page_of(result)
    assert (
        "at most 3.16 % (95 % interval 2.40 to 4.10), the share of 1,900 test images that it marks, rightly or wrongly"
        in page
    )
    assert "without their labels, because the run held out too few training images" in page


def test_a_model_without_limits_is_said_to_be_unjudged_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    result = classified().model_copy(update={"limits": {}, "not_judged": {"plain": "an earlier version made the run"}})
    show_predictions(result)
    stated = "plain: doubt can't be judged: an earlier version made the run"
    assert stated in capsys.readouterr().out
    assert stated in page_of(result)
    assert false_alarms(result) == [f"{stated}."]


def test_the_page_shows_the_original_the_prepared_picture_and_what_was_left_out() -> None:
    mask = encode_file(Image.fromarray(np.array([[255, 0, 0, 0]] * 4, np.uint8)), "PNG")
    page = page_of(classified(left_out=LeftOut(share=0.031, pieces=2, mask=mask)))
    for part in ("original", "what was left out", "as the network received it"):
        assert f'alt="mine.png, {part}"' in page
    assert "left out: 3.1 % of the ink, in 2 pieces" in page
    clean = page_of(classified())
    assert "what was left out" not in clean.partition("<figure")[2].partition("</figure>")[0]
    assert "nothing left out" in clean


def test_what_was_left_out_is_drawn_in_color_on_the_pale_original() -> None:
    original = encode_file(Image.new("RGB", (16, 16), "black"), "JPEG")
    mask = np.zeros((16, 16), np.uint8)
    mask[:, :8] = 255
    url = left_out_url(original, encode_file(Image.fromarray(mask), "PNG"))
    drawn = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    red, _, blue = np.asarray(drawn, int)[8, 2]
    pale = np.asarray(drawn, int)[8, 13]
    assert red - blue > 100
    assert np.ptp(pale) < 12
    assert pale.min() > 130


def test_the_margins_of_a_color_picture_are_described_as_such() -> None:
    assert (
        describe_left_out(LeftOut(share=0.25, pieces=2), color=True) == "left out: the margins, 25.0 % of the picture"
    )


def test_json_holds_no_images() -> None:
    (picture,) = classified().model_dump()["pictures"]
    assert not {"pixels", "original"} & picture.keys()
    assert picture["left_out"] == {"share": 0.0, "pieces": 0}
