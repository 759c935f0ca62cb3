"""Label files: what people's tables look like, and what is refused with which words."""

import csv
import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import safelight
from safelight.data.images import ImageSet
from safelight.data.label_files import MAX_BYTES, NO_LABEL, Labels, names_of, read_labels, write_labels
from safelight.errors import DataError
from safelight.explorer.labelling import LabelFile
from safelight.labels.finetuning import divide, told

NAMES = ["a.png", "b.png", "c, d.png", "é.png"]


def read(tmp_path, content, names=NAMES):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(path, names)


class TestLabels:
    def test_numbers_stand_in_their_order_and_words_in_the_alphabets(self):
        assert Labels.of([10, 9, None, 2]).classes == ("2", "9", "10")
        assert Labels.of(["10", "9", "x"]).classes == ("10", "9", "x")

    def test_counts_leave_the_unknown_out(self):
        assert Labels.of(["x", None, "y", "x", None]).counts().tolist() == [2, 1]

    @pytest.mark.parametrize("names", [[None, None], ["x", None, "x"]])
    def test_one_class_is_none(self, names):
        with pytest.raises(DataError, match="labels of at least two classes"):
            Labels.of(names)

    def test_words_for_nothing_known_are_no_class(self):
        labels = Labels.of(["x", "NA", float("nan"), "N/A", None, "null", -1, " ", "?", "y"])
        assert labels.classes == ("x", "y")
        assert labels.numbers.tolist() == [0] + 8 * [-1] + [1]

    def test_the_page_takes_the_same_words_for_no_label(self):
        page = Path(safelight.__file__).parent / "explorer" / "page" / "labels.js"
        listed = re.search(r"const NO_LABEL = (\[.*?\]);", page.read_text(encoding="utf-8"))
        assert json.loads(listed[1]) == list(NO_LABEL)

    def test_whole_numbers_with_a_point_are_whole_and_other_numbers_stay(self):
        assert Labels.of(["3.0", "10", 3, float("nan")]).numbers.tolist() == [0, 1, 0, -1]
        assert Labels.of(["3.0", "3.5"]).classes == ("3.0", "3.5")

    def test_one_class_however_its_accent_is_written(self):
        assert Labels.of(["\u00e9", "e\u0301", "x"]).numbers.tolist() == [1, 1, 0]

    def test_images_without_names_are_called_by_their_places(self):
        pixels = np.zeros((3, 1, 8, 8), np.uint8)
        assert names_of(ImageSet(pixels)) == ("0", "1", "2")
        assert names_of(ImageSet(pixels, names=("x", "y", "z"))) == ("x", "y", "z")


class TestReading:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("line_end", ["\n", "\r\n"])
    def test_encodings_separators_and_line_ends(self, tmp_path, encoding, separator, line_end):
        rows = ["filename%slabel", "é.png%sdog", '"c, d.png"%scat', "", "a.png%sdög"]
        content = line_end.join(row % separator if row else row for row in rows)
        labels = read(tmp_path, content.encode(encoding))
        assert labels.classes == ("cat", "dog", "dög")
        assert labels.numbers.tolist() == [2, -1, 0, 1]

    @pytest.mark.parametrize(
        ("encoding", "word"), [("cp1252", "dög"), ("cp1251", "кот"), ("gbk", "猫狗"), ("shift_jis", "ネコ")]
    )
    def test_other_encodings_are_asked_for_and_then_read(self, tmp_path, encoding, word):
        path = tmp_path / "labels.csv"
        path.write_bytes(f"a.png,{word}\nb.png,x".encode(encoding))
        with pytest.raises(DataError, match="save it as UTF-8, or tell finetune and suggest its --encoding"):
            read_labels(path, NAMES)
        assert set(read_labels(path, NAMES, encoding).classes) == {word, "x"}
        with pytest.raises(DataError, match="encoding: expected one such as cp1252"):
            read_labels(path, NAMES, "klingon")

    def test_excels_line_of_the_separator(self, tmp_path):
        labels = read(tmp_path, "sep=;\r\nfilename;label\r\na.png;x, or so\r\nb.png;y\r\n")
        assert labels.classes == ("x, or so", "y")

    def test_a_label_may_come_beside_a_word_for_none(self, tmp_path):
        assert read(tmp_path, "a.png,NA\na.png,x\n b.png,y\nb.png,?").numbers.tolist() == [0, 1, -1, -1]

    def test_without_titles(self, tmp_path):
        assert read(tmp_path, "a.png,x\nb.png,y").numbers.tolist() == [0, 1, -1, -1]

    def test_titles_let_other_columns_stand_beside_them(self, tmp_path):
        content = "probability,Label,Name\n0.9,x,a.png\n0.8,y,b.png\n"
        assert read(tmp_path, content).numbers.tolist() == [0, 1, -1, -1]

    def test_an_empty_label_is_unknown_and_agreeing_duplicates_are_one(self, tmp_path):
        content = "filename,label\na.png,\nb.png,x\nb.png,x\nb.png,\na.png,y\n"
        assert read(tmp_path, content).numbers.tolist() == [1, 0, -1, -1]

    def test_an_accent_may_be_written_either_way(self, tmp_path):
        assert read(tmp_path, "e\u0301.png,x\na.png,y").numbers.tolist() == [1, -1, -1, 0]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                "filename,label\nz.png,x",
                r"line 2: there is no 'z.png' among the 4 images, whose first is 'a.png'",
            ),
            ("a.png,x\nb.png,x\na.png,y", r"line 3: 'a.png' is 'y' here and 'x' in line 1; keep one"),
            ("a.png,x\nb.png,x", "at least two classes, got only 'x'"),
            ("filename,label\na.png,\n", "at least two classes, got no label at all"),
            ("", "got no label at all"),
            ("a.png,x,0.5\nb.png,y,0.5", "line 1: expected 2 columns, got 3; name the columns"),
            ("a.png\nb.png", "line 1: expected 2 columns, got 1"),
            ("filename,label\na.png,x\nc, d.png,y", "line 3: expected 2 columns, got 3"),
            ("filename,label,class\na.png,x,y", "expected one column called label or class, got 2"),
            ("label\nx", "expected one column called filename or file or name or image, got 0"),
            (f"a.png,x\nb.png,{'y' * 201}", "line 2: expected a class of at most 200 characters, got 201"),
            ('a.png,x\n"b.png,y', "unexpected end of data"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "expected a text file of names and labels"),
            (b"\xff\xfea\0\0\0", "expected a text file of names and labels"),
        ],
    )
    def test_what_is_no_table_of_labels(self, tmp_path, content, message):
        with pytest.raises(DataError, match=message) as raised:
            read(tmp_path, content)
        assert "\n" not in str(raised.value)

    def test_a_file_that_is_not_there_or_too_large(self, tmp_path):
        with pytest.raises(DataError, match=r"cannot read labels from .*none\.csv: No such file"):
            read_labels(tmp_path / "none.csv", NAMES)
        with (tmp_path / "large.csv").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        with pytest.raises(DataError, match="expected at most 256 MiB"):
            read_labels(tmp_path / "large.csv", NAMES)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9),
            st.sampled_from(["x", 'y"', "z, w", None]),
        ),
        min_size=2,
        max_size=9,
        unique_by=lambda row: unicodedata.normalize("NFC", row[0]),
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    names, given_labels = zip(*rows, strict=True)
    if len(set(given_labels) - {None}) < 2:
        return
    labels, path = Labels.of(given_labels), tmp_path_factory.mktemp("labels") / "labels.csv"
    write_labels(path, names, labels)
    again = read_labels(path, names)
    assert again.classes == labels.classes
    assert np.array_equal(again.numbers, labels.numbers)
    with path.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == (labels.numbers >= 0).sum()


def test_what_says_nothing_is_counted_and_may_be_a_class(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("filename,label\na.png,NA\nb.png,x\nc.png,none\nd.png,\ne.png,y\n")
    names = [f"{letter}.png" for letter in "abcde"]
    found = read_labels(path, names)
    assert (found.classes, found.blank) == (("x", "y"), 3)
    kept = read_labels(path, names, keep_na=True)
    assert (kept.classes, kept.blank) == (("NA", "none", "x", "y"), 1)
    images = ImageSet(np.zeros((5, 1, 8, 8), np.uint8), names=names)
    divided, labels = divide(images, found.trained_on(found.numbers >= 0), 1, None)
    assert told(images, divided, labels, None)[0].startswith("labels: 3 rows of the file give none")


def test_folders_and_parquet_columns_that_are_called_like_nothing(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 12, 12), np.uint8)
    contents = []
    for i, name in enumerate(("cat", "cat", "dog", "NA", "none", "dog")):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(tmp_path / "set" / name / f"{i}.png")
        image = {"bytes": (tmp_path / "set" / name / f"{i}.png").read_bytes(), "path": f"{i}.png"}
        contents.append({"image": image, "label": name})
    pq.write_table(pa.Table.from_pylist(contents), tmp_path / "set.parquet")
    for source in (tmp_path / "set", tmp_path / "set.parquet"):
        images = safelight.load(source)
        assert images.classes == ("cat", "dog")
        assert sorted(images.labels.tolist()) == [-1, -1, 0, 0, 1, 1]
        assert safelight.load(source, keep_na=True).classes == ("NA", "cat", "dog", "none")


def test_a_table_in_another_encoding_is_trained_on_and_kept_in_it(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("filename,label\n0,Stra\u00dfe\n1,\u00d6l\n2,\u00d6l\n".encode("cp1252"))
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    images = safelight.load(tmp_path / "a.npy", labels=str(path), encoding="cp1252")
    assert images.classes == ("Stra\u00dfe", "\u00d6l")
    kept = LabelFile(path, "cp1252")
    kept.change({"0": ["Stra\u00dfe", "B\u00e4r"]})
    assert "0,B\u00e4r".encode("cp1252") in path.read_bytes()
    with pytest.raises(DataError, match=r"cp1252 has no '猫'; save it as UTF-8"):
        kept.change({"0": ["", "猫"]})
    with pytest.raises(DataError, match="tell its --encoding"):
        LabelFile(path)
