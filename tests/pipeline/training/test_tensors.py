"""Windows of samples as tensors: spans, variants, masks and weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.training import make_data

from sightsound.pipeline.training.batches import plain_batch
from sightsound.pipeline.training.extract import Teacher
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.tensors import make_windows
from sightsound.stages.plan import lay_windows


def with_span(dataset, number, start_s, end_s):
    samples = list(dataset.samples)
    samples[number] = replace(samples[number], start_s=start_s, end_s=end_s)
    return Dataset(tasks=dataset.tasks, samples=tuple(samples))


def test_a_whole_file_has_the_windows_of_a_run():
    dataset, features = make_data(1, duration_s=7.0)
    windows = make_windows(dataset, features, [0])
    laid = lay_windows(7.0, length_s=2.0, hop_s=1.0)
    assert windows.start_s.tolist() == [window.start_s for window in laid]
    batch = plain_batch(windows, torch.arange(len(windows)))
    assert batch.visual_mask.sum(dim=1).tolist() == [4] * 6
    assert batch.visual_times[1].tolist() == [0.0, 0.5, 1.0, 1.5]


def test_tokens_of_a_span_are_those_inside_it_with_times_from_its_windows():
    dataset, features = make_data(1, duration_s=9.0)
    windows = make_windows(with_span(dataset, 0, 2.25, 4.25), features, [0])
    batch = plain_batch(windows, torch.arange(len(windows)))
    assert windows.start_s.tolist() == [2.25]
    np.testing.assert_allclose(batch.visual_times[0], [0.25, 0.75, 1.25, 1.75])
    expected = features.files["0.mp4"].visual[0].values[5:9]
    np.testing.assert_array_equal(batch.visual[0].numpy(), expected.astype(np.float32))


def test_a_span_past_the_end_of_its_file_has_no_window():
    dataset, features = make_data(2, duration_s=3.0)
    windows = make_windows(with_span(dataset, 0, 20.0, 25.0), features, [0, 1])
    assert set(windows.sample.tolist()) == {1}


def test_two_spans_of_one_file_are_two_samples():
    dataset, features = make_data(1, duration_s=8.0)
    sample = dataset.samples[0]
    both = Dataset(
        tasks=dataset.tasks,
        samples=(replace(sample, end_s=2.0), replace(sample, start_s=6.0)),
    )
    windows = make_windows(both, features, [0, 1])
    assert windows.sample.tolist() == [0, 1]
    assert windows.start_s.tolist() == [0.0, 6.0]


def test_a_sound_that_is_missing_is_masked_and_says_nothing():
    dataset, features = make_data(2)
    windows = make_windows(dataset, features, [0, 1])
    batch = plain_batch(windows, torch.arange(len(windows)))
    heard = batch.audio_mask.any(dim=1)
    assert heard.tolist() == [n == 1 for n in windows.sample.tolist()]
    assert batch.present["sound"].tolist() == heard.tolist()
    assert batch.present["label"].all()


def test_files_without_any_sound_at_all_make_a_batch():
    dataset, features = make_data(2, with_sound=[False, False])
    batch = plain_batch(make_windows(dataset, features, [0, 1]), torch.tensor([0, 1]))
    assert batch.audio.shape == (2, 1, 6)
    assert not batch.audio_mask.any()


def test_the_windows_of_a_sample_share_its_weight():
    dataset, features = make_data(3, duration_s=6.0)
    windows = make_windows(dataset, features, [0, 1, 2])
    for number in range(3):
        total = windows.weight[windows.sample == number].sum()
        assert float(total) == pytest.approx(1.0)


def test_balanced_labels_weigh_alike():
    dataset, features = make_data(9)
    chosen = [0, 3, 6, 1, 2]  # Three ants, one bee, one cat.
    windows = make_windows(dataset, features, chosen, class_balance=1.0)
    target = windows.targets["label"][:, 0]
    weights = (target * windows.weight[:, None]).sum(dim=0)
    np.testing.assert_allclose(weights, weights[0].item() * np.ones(3), rtol=1e-5)


def test_a_teacher_labels_windows_in_each_variant():
    teacher = Teacher(task="action", kind="single", temperature=1.0, is_audio=False)
    dataset, features = make_data(3, teacher=teacher)
    windows = make_windows(dataset, features, [0, 1, 2])
    target = windows.targets["action"]
    assert target.shape[1:] == (2, 3)
    torch.testing.assert_close(target.sum(dim=2), torch.ones(target.shape[:2]))
    assert (target.argmax(dim=2) == ((windows.sample + 1) % 3)[:, None]).all()
    assert windows.present["action"].all()
