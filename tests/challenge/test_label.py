"""Labels split into four parts at their underscores, and come back from their own text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s5cli.challenge.label import Label, wav_zips
from s5cli.errors import UsageError

parts = st.from_regex("[A-Za-z0-9-]{1,10}", fullmatch=True).filter(lambda text: "baseline" not in text.lower())


@given(parts, parts, st.integers(1, 4))
def test_a_label_comes_back_from_its_text(author, affiliation, index):
    label = Label(author, affiliation, index)
    assert str(label).split("_") == [author, affiliation, "task4", str(index)]
    assert Label.parse(str(label)) == label


def test_every_name_that_follows_from_it():
    label = Label("Doe", "LAB", 3)
    assert label.meta_file == "Doe_LAB_task4_3.meta.yaml"
    assert label.audio_url_file == "Doe_LAB_task4.audio_url.txt"
    assert label.report_file == "Doe_LAB_task4.technical_report.pdf"
    assert [label.wav_zip("readme"), label.wav_zip("script")] == wav_zips("Doe_LAB_task4_3")
    assert wav_zips("X") == ["X_out.zip", "X.zip"]


@pytest.mark.parametrize(
    ("author", "affiliation", "index", "said"),
    [
        ("Van_Berg", "LAB", 1, "underscore"),
        ("", "LAB", 1, "author ''"),
        ("Doe", "L AB", 1, "affiliation 'L AB'"),
        ("Doe", "../LAB", 1, "affiliation"),
        ("Müller", "LAB", 1, "letters a to z"),
        ("Doe", "ABCDEFGHIJK", 1, "11 characters"),
        ("Doe", "BaseLine", 1, "not allowed"),
        ("baseline", "LAB", 1, "not allowed"),
        ("Doe", "LAB", 0, "1 to 4"),
        ("Doe", "LAB", 5, "1 to 4"),
    ],
)
def test_parts_that_cannot_stand_in_a_label(author, affiliation, index, said):
    with pytest.raises(UsageError, match=said):
        Label(author, affiliation, index)


@pytest.mark.parametrize(
    "text", ["Doe_LAB_task4", "Doe_LAB_task4_1_out", "Doe_LAB_task5_1", "Doe_LAB_task4_x", "Doe_LAB_task4_01", "out"]
)
def test_texts_that_are_no_label(text):
    with pytest.raises(UsageError, match="not of the form"):
        Label.parse(text)
