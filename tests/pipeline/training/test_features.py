"""What features are kept under, and what a teacher's task is called."""

from fractions import Fraction

import pytest

from sightsound.models.errors import ModelError
from sightsound.pipeline.training.augment import PictureAugmentation, SoundAugmentation
from sightsound.pipeline.training.backbones import teacher_task
from sightsound.pipeline.training.extract import with_teacher
from sightsound.pipeline.training.features import Extraction
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import DataError, Dataset, TaskLabels

SEEN = {"backbone": "efficientnet_lite0", "fps": Fraction(2), "n_variants": 3}
HEARD = {"backbone": "yamnet", "fps": None, "n_variants": 3}


def test_the_file_as_it_is_is_shared_by_all_augmentations():
    turned = PictureAugmentation(rotation_degrees=9)
    assert Extraction(**SEEN).name(0) == Extraction(**SEEN, picture=turned).name(0)
    assert Extraction(**SEEN).name(1) != Extraction(**SEEN, picture=turned).name(1)


def test_pictures_do_not_depend_on_how_sound_is_altered_nor_sound_on_pictures():
    masks, turned = SoundAugmentation(n_masks=3), PictureAugmentation(rotation_degrees=9)
    assert Extraction(**SEEN).name(1) == Extraction(**SEEN, sound=masks).name(1)
    assert Extraction(**HEARD).name(1) == Extraction(**HEARD, picture=turned).name(1)
    assert Extraction(**HEARD).name(1) != Extraction(**HEARD, sound=masks).name(1)


@pytest.mark.parametrize(
    "change", [{"fps": Fraction(3)}, {"keeps_logits": True}, {"backbone": "yamnet"}]
)
def test_rate_outputs_and_backbone_are_part_of_the_name(change):
    assert Extraction(**SEEN).name(0) != Extraction(**{**SEEN, **change}).name(0)


def test_how_many_variants_there_are_is_not():
    assert Extraction(**SEEN).name(1) == Extraction(**{**SEEN, "n_variants": 9}).name(1)


def test_a_teacher_that_listens_teaches_sounds():
    name, kind, labels = teacher_task("yamnet")
    assert (name, kind, len(labels)) == ("sound", "multi", 521)
    assert teacher_task("yamnet", "noise")[0] == "noise"


def test_a_backbone_without_labels_cannot_teach():
    with pytest.raises(ModelError, match="no scores of its own"):
        teacher_task("efficientnet_lite0")


def test_a_column_with_the_name_of_the_teachers_task_is_refused():
    data = Dataset(tasks=(TaskLabels(name="sound", kind="multi", labels=("a",)),), samples=())
    with pytest.raises(DataError, match="both a column of the data and what yamnet teaches"):
        with_teacher(data, load_recipe(settings=["teacher.backbone=yamnet"]))
