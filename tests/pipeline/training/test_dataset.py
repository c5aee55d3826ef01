"""Labelled data: what is read from it, and the one sentence said of each thing that is wrong."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightsound.pipeline.training.dataset import check_trainable, read_dataset
from sightsound.pipeline.training.records import DataError


@pytest.fixture
def write(tmp_path):
    """Writes CSV text, with files a.mp4 to d.mp4 beside it."""
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())

    def write_text(text: str):
        path = tmp_path / "data.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def check(path, **options) -> None:
    dataset = read_dataset(path, **options)
    learnt = [n for n, sample in enumerate(dataset.samples) if sample.split != "test"]
    check_trainable(dataset, learnt)


def message_of(path, **options) -> str:
    with pytest.raises(DataError) as error:
        check(path, **options)
    return str(error.value)


def test_paths_are_relative_to_the_data_and_groups_default_to_them(write):
    path = write("path,label,note\na.mp4,run,x\nb.mp4,walk,y\n")
    dataset = read_dataset(path)
    assert [sample.path for sample in dataset.samples] == [
        str(path.parent / "a.mp4"),
        str(path.parent / "b.mp4"),
    ]
    assert [sample.group for sample in dataset.samples] == [s.path for s in dataset.samples]
    assert [(task.name, task.kind, task.labels) for task in dataset.tasks] == [
        ("label", "single", ("run", "walk"))
    ]


def test_spans_splits_and_groups_are_read(write):
    path = write("path,label,split,group,start_s,end_s\na.mp4,run,train,g1,1.5,4\nb.mp4,run,,,,\n")
    first, second = read_dataset(path).samples
    assert (first.start_s, first.end_s, first.split, first.group) == (1.5, 4.0, "train", "g1")
    assert (second.start_s, second.end_s, second.split) == (0.0, None, None)
    assert first.name.endswith("a.mp4#1.5-4")


def test_three_tasks_leave_out_what_a_row_does_not_say(write):
    path = write("path,action,scene,sound\na.mp4,run,park,dog|wind\nb.mp4,,beach,\n")
    dataset = read_dataset(path)
    assert [(task.name, task.kind) for task in dataset.tasks] == [
        ("action", "single"),
        ("scene", "single"),
        ("sound", "multi"),
    ]
    assert dataset.samples[0].labels["sound"] == ("dog", "wind")
    assert dict(dataset.samples[1].labels) == {"scene": ("beach",)}


def test_parquet_lists_are_several_labels_and_an_empty_one_says_that_none_is_true(write):
    folder = write("").parent
    table = pa.table({"path": ["a.mp4", "b.mp4", "c.mp4"], "sound": [["dog", "wind"], [], None]})
    pq.write_table(table, folder / "data.parquet")
    dataset = read_dataset(folder / "data.parquet", may_lack_labels=True)
    assert [dict(sample.labels) for sample in dataset.samples] == [
        {"sound": ("dog", "wind")},
        {"sound": ()},
        {},
    ]


def test_named_columns_are_tasks_with_several_labels_where_any_row_has(write):
    path = write("path,weather,mood\na.mp4,sun,calm|sad\nb.mp4,rain,calm\n")
    dataset = read_dataset(path, tasks=["weather", "mood"])
    assert [(task.name, task.kind) for task in dataset.tasks] == [
        ("weather", "single"),
        ("mood", "multi"),
    ]


def test_paths_alone_are_enough_for_a_teacher(write):
    dataset = read_dataset(write("path\na.mp4\n"), may_lack_labels=True)
    assert dataset.tasks == ()
    assert len(dataset.samples) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: it needs a header"),
        ("path,label\n", "has no rows"),
        ("file,label\na.mp4,x\n", "has no column 'path'"),
        ("paths,label\na.mp4,x\n", "rename 'paths' to 'path'"),
        ("path,lable\na.mp4,x\n", "rename 'lable' to 'label'"),
        ("path,label\nx,a.mp4\ny,b.mp4\n", "the files are in the column 'label', so rename that"),
        (f"path,label\n{'x' * 5000},{'y' * 5000}\n", "1 row whose file is missing"),
        ("path,label,label\na.mp4,x,y\n", "has two columns 'label'"),
        ("path,label\n,x\n", "1 row without a path (row 2)"),
        ("path,label\na.mp4,x\nb.mp4,\n", "1 row without any label (row 3)"),
        ("path,label,split\na.mp4,x,dev\n", "unknown split (row 2: 'dev')"),
        (
            "path,label\na.mp4,x\n1.mp4,x\n2.mp4,x\n3.mp4,x\n4.mp4,x\n",
            "4 rows whose file is missing (row 3: 1.mp4, row 4: 2.mp4, row 5: 3.mp4 and 1 more)",
        ),
        ("path,label,start_s,end_s\na.mp4,x,4,3\n", "whose end_s is not after start_s (row 2)"),
        ("path,label,start_s\na.mp4,x,-1\n", "with a time before 0 (row 2)"),
        ("path,label,start_s\na.mp4,x,1:30\n", "start_s is no number of seconds (row 2: '1:30')"),
        ("path,label,end_s\na.mp4,x,inf\n", "end_s is no number of seconds (row 2: 'inf')"),
        ("path,label\na.mp4,Run\nb.mp4,run\n", "'Run' in row 2 and 'run' in row 3"),
        ("path,label\na.mp4,run|walk\n", "single-label column 'label' with a list (row 2)"),
        (
            "path,label,split,group\na.mp4,x,train,g\nb.mp4,x,test,g\n",
            "'g' in train (row 2) and in test (row 3)",
        ),
        ("path,label\na.mp4,x,y\n", "3 fields in row 2 and 2 columns"),
        ("path,label\na.mp4,x\nb.mp4,x\nc.mp4,y\n", "1 label with fewer than two samples"),
        ("path,label\na.mp4,x\nb.mp4,x\n", "has one label, 'x'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(write, text, said):
    message = message_of(write(text))
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message


def test_other_kinds_of_file_are_refused(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("path,label\n")
    assert "neither .csv nor .parquet" in message_of(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "none.csv cannot be read" in message_of(tmp_path / "none.csv")


def test_damaged_parquet_is_named(tmp_path):
    (tmp_path / "data.parquet").write_bytes(b"no parquet at all")
    assert "is not valid PARQUET" in message_of(tmp_path / "data.parquet")


def test_a_missing_task_column_is_named_with_the_nearest(write):
    path = write("path,wether\na.mp4,sun\n")
    assert "rename 'wether' to 'weather'" in message_of(path, tasks=["weather"])


def test_samples_of_the_test_split_do_not_make_a_class_trainable(write):
    path = write("path,label,split\na.mp4,x,train\nb.mp4,x,train\nc.mp4,y,train\nd.mp4,y,test\n")
    assert "fewer than two samples to learn from ('y')" in message_of(path)
