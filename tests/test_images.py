"""Images in memory: what is accepted, how they become floats, how they are split and served."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safelight.data.batches import Batches
from safelight.data.images import ImageSet
from safelight.errors import ConfigError, DataError


def numbered(count: int, **options) -> ImageSet:
    """Images that are all of the value of their place."""
    pixels = np.arange(count, dtype=np.uint16).repeat(64).reshape(count, 1, 8, 8)
    return ImageSet(pixels, value_range=(0, 65535), labels=np.arange(count), **options)


def places(images: ImageSet | None) -> list[int]:
    return [] if images is None else images.pixels[:, 0, 0, 0].tolist()


class TestImageSet:
    @pytest.mark.parametrize(
        ("pixels", "value_range"),
        [
            (np.array([0, 51, 255], np.uint8), (0, 255)),
            (np.array([0, 13107, 65535], np.uint16), (0, 65535)),
            (np.array([-1, -0.6, 1], np.float32), (-1, 1)),
        ],
    )
    def test_floats(self, pixels, value_range):
        pixels = pixels[:, None, None, None].repeat(8, 2).repeat(8, 3)
        images = ImageSet(pixels, value_range)
        floats = images.floats()
        assert floats.dtype == torch.float32
        assert floats[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
        assert images.floats([2, 0])[:, 0, 0, 0].tolist() == [1, 0]
        assert np.array_equal(images.pixels, pixels)  # nothing is changed in place

    def test_floats_do_not_touch_float_pixels(self):
        pixels = np.full((2, 1, 8, 8), 0.5, np.float32)
        images = ImageSet(pixels, (0, 2))
        assert float(images.floats().max()) == 0.25
        assert float(images.floats().max()) == 0.25

    @pytest.mark.parametrize(
        ("pixels", "options", "words"),
        [
            (np.zeros((3, 8, 8), np.uint8), {}, r"1 to 8 channels, got \(3, 8, 8\)"),
            (np.zeros((3, 9, 8, 8), np.uint8), {}, r"got \(3, 9, 8, 8\)"),
            (np.zeros((0, 1, 8, 8), np.uint8), {}, "at least one image, got none"),
            (np.zeros((3, 1, 8, 8), np.int64), {}, "got int64"),
            (np.full((3, 1, 8, 8), np.nan, np.float32), {"value_range": (0, 1)}, "got NaN"),
            (np.full((3, 1, 8, 8), 2, np.float32), {"value_range": (0, 1)}, "from 0 to 1, got 2 to 2"),
            (np.zeros((3, 1, 8, 8), np.uint8), {"value_range": (1, 1)}, r"got \(1, 1\)"),
            (
                np.zeros((3, 1, 8, 8), np.uint8),
                {"labels": np.arange(2)},
                "labels for each of 3 images, got 2",
            ),
            (np.zeros((3, 1, 8, 8), np.uint8), {"names": ("a",)}, "names for each of 3 images, got 1"),
        ],
    )
    def test_refusals(self, pixels, options, words):
        with pytest.raises(DataError, match=words):
            ImageSet(pixels, **options)

    def test_subset(self):
        images = numbered(5, names=tuple("abcde"))
        chosen = images.subset([3, 0])
        assert (places(chosen), chosen.labels.tolist(), chosen.names) == ([3, 0], [3, 0], ("d", "a"))
        assert images.subset(slice(1, 3)).names == ("b", "c")

    def test_fingerprint(self):
        images = numbered(5)
        assert images.fingerprint() == numbered(5).fingerprint()
        others = [
            images.subset([1, 0, 2, 3, 4]),
            images.subset(slice(4)),
            ImageSet(images.pixels, (0, 4)),
            ImageSet(images.pixels.astype(np.float32), (0, 65535)),
            ImageSet(images.pixels.reshape(5, 1, 4, 16), (0, 65535)),
        ]
        others.append(replace(images, labels=images.labels[::-1].copy()))
        assert len({image_set.fingerprint() for image_set in [images, *others]}) == 7
        assert images.fingerprint() == replace(images, source="other").fingerprint()


class TestSplit:
    def test_own_test_split(self):
        parts = numbered(600, has_test_split=True).split()
        assert places(parts.train) == list(range(500))
        assert places(parts.validation) == list(range(500, 600))
        assert parts.test is None

    def test_shuffled(self):
        parts = numbered(600).split()
        train, validation, test = places(parts.train), places(parts.validation), places(parts.test)
        assert [len(train), len(validation), len(test)] == [480, 60, 60]
        assert sorted(train + validation + test) == list(range(600))
        assert train != sorted(train)
        assert places(numbered(600).split().train) == train
        assert parts.train.labels.tolist() == train

    @pytest.mark.parametrize("own", [True, False])
    def test_no_validation(self, own):
        parts = numbered(600, has_test_split=own).split(validation=0)
        assert parts.validation is None
        assert len(parts.train) == (600 if own else 540)

    def test_sizes_leave_the_test_images_alone(self):
        images = numbered(600)
        tests = {
            tuple(places(images.split(validation, limit).test))
            for validation in (0, 7)
            for limit in (None, 9)
        }
        assert len(tests) == 1

    def test_limit(self):
        images = numbered(600)
        parts = images.split(validation=100, limit=30)
        assert places(parts.train) == places(images.split(validation=100).train)[:30]
        assert len(parts.validation) == 100

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"validation": 540}, "between 0 and 539 validation images, got 540"),
            ({"validation": -1}, "got -1"),
            ({"limit": 0}, "at least 1 training image, got 0"),
        ],
    )
    def test_refusals(self, options, words):
        with pytest.raises(ConfigError, match=words):
            numbered(600).split(**options)


class TestBatches:
    def test_an_epoch_serves_each_image_once(self):
        batches = Batches(numbered(50), batch_size=8, seed=3)
        served = list(batches.epoch(0))
        assert [len(batch) for batch in served] == [8] * 6 + [2]
        assert len(batches) == 7
        values = (torch.cat([batch.images for batch in served])[:, 0, 0, 0] * 65535).round().int().tolist()
        assert sorted(values) == list(range(50))
        assert values != sorted(values)

    def test_the_order_follows_from_seed_and_epoch(self):
        def order(seed: int, epoch: int, start: int = 0) -> list[float]:
            return [
                value
                for batch in Batches(numbered(50), 8, seed).epoch(epoch, start)
                for value in batch.images[:, 0, 0, 0].tolist()
            ]

        assert order(3, 1) == order(3, 1)
        assert order(3, 1) != order(3, 2)
        assert order(3, 1) != order(4, 1)
        assert order(3, 1, start=5) == order(3, 1)[40:]  # a run continues at any batch
        assert list(Batches(numbered(50), 8, 3).epoch(0, start=7)) == []

    def test_a_batch_knows_its_images_labels_and_places(self):
        images = numbered(50)
        for batch in Batches(images, batch_size=8, seed=3).epoch(0):
            assert torch.equal(batch.images, images.floats(batch.indices.numpy()))
            assert batch.labels.tolist() == images.labels[batch.indices.numpy()].tolist()
            assert batch.inputs is batch.images

    def test_a_transform_makes_the_inputs_and_can_go_on_anywhere(self):
        def noisy(images, generator):
            return images + torch.randn(images.shape, generator=generator)

        def inputs(epoch: int, start: int = 0, seed: int = 3) -> list[torch.Tensor]:
            batches = Batches(numbered(50), 8, seed, transform=noisy)
            return [batch.inputs - batch.images for batch in batches.epoch(epoch, start)]

        straight = inputs(1)
        assert all(torch.equal(a, b) for a, b in zip(straight[5:], inputs(1, start=5), strict=True))
        assert not torch.equal(straight[0], straight[1])  # fresh for every batch,
        assert not torch.equal(straight[0], inputs(2)[0])  # every epoch
        assert not torch.equal(straight[0], inputs(1, seed=4)[0])  # and every seed

    def test_batch_too_large(self):
        with pytest.raises(
            ConfigError, match="batch size of at most 50, the number of training images, got 51"
        ):
            Batches(numbered(50), batch_size=51, seed=0)


class TestWeights:
    def test_an_epoch_draws_as_many_images_in_proportion(self):
        images = replace(numbered(2000), weights=np.repeat([0, 1, 3], [1000, 500, 500]).astype(np.float32))
        batches = Batches(images, batch_size=100, seed=0)
        drawn = torch.cat([batch.indices for epoch in range(10) for batch in batches.epoch(epoch)])
        assert len(drawn) == 20_000
        shares = torch.bincount(drawn // 500, minlength=4) / len(drawn)
        assert shares.tolist() == pytest.approx([0, 0, 0.25, 0.75], abs=0.01)

    def test_the_draws_follow_from_seed_and_epoch_at_any_batch(self):
        batches = Batches(replace(numbered(50), weights=np.ones(50, np.float32)), 8, seed=3)
        whole = torch.cat([batch.indices for batch in batches.epoch(1)]).tolist()
        assert torch.cat([batch.indices for batch in batches.epoch(1, 4)]).tolist() == whole[32:]
        assert whole != torch.cat([batch.indices for batch in batches.epoch(2)]).tolist()

    def test_they_go_along_with_their_images(self):
        images = replace(numbered(30), weights=np.arange(30, dtype=np.float32))
        assert images.subset([4, 2]).weights.tolist() == [4, 2]

    @pytest.mark.parametrize("weights", [[1, -1], [0, 0], [1, np.nan], [1, np.inf]])
    def test_what_no_weights_can_be(self, weights):
        with pytest.raises(DataError, match="weights of 0 or more, not all of them 0"):
            replace(numbered(2), weights=np.array(weights, np.float32))
