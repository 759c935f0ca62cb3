"""Augmentation: every motion against NumPy's or SciPy's own, and that it stays within its bounds."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from safelight.data.augmentation import Augmentation, mirrored, move, turned
from safelight.data.batches import Batches
from safelight.data.images import ImageSet

STILL = {"shift": 0.0, "rotation": 0.0, "scale": 0.0, "shear": 0.0, "cut_out": 0.0, "probability": 1.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int = 28, width: int = 28) -> torch.Tensor:
    """A smooth picture without symmetry, black at its edges."""
    y, x = torch.meshgrid(torch.arange(height) + 0.0, torch.arange(width) + 0.0, indexing="ij")
    spots = [(0.4, 0.45, 2.0, 1.0), (0.6, 0.55, 1.5, 0.7), (0.5, 0.65, 1.0, 0.9)]
    total = sum(
        weight * torch.exp(-((y - height * a) ** 2 + (x - width * b) ** 2) / (2 * spread**2))
        for a, b, spread, weight in spots
    )
    return total.clamp(0, 1).view(1, 1, height, width)


def test_a_quarter_turn_is_exact():
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    turned = move(blob(), quarter, torch.zeros(1, 2))
    assert torch.allclose(turned[0, 0], torch.rot90(blob()[0, 0], 1), atol=1e-5)


def test_a_shift_by_whole_pixels_is_exact_and_names_x_first():
    images = blob(20, 28)
    moved = move(images, torch.eye(2)[None], torch.tensor([[2 * 3 / 28, 2 * -2 / 20]]))
    inside = (..., slice(2, -2), slice(3, -3))
    assert torch.allclose(moved[inside], images.roll((2, -3), (2, 3))[inside], atol=1e-5)


def test_any_affine_map_agrees_with_scipy_on_images_that_are_not_square():
    images = blob(20, 32)
    matrix = torch.tensor([[0.9, -0.3], [0.2, 1.1]])  # of (x, y)
    moved = move(images, matrix[None], torch.zeros(1, 2))[0, 0].numpy()
    of_rows = matrix.flip(0, 1).double().numpy()  # the same map of (y, x)
    center = np.array([9.5, 15.5])
    expected = ndimage.affine_transform(
        images[0, 0].double().numpy(), of_rows, center - of_rows @ center, order=1, mode="nearest"
    )
    assert np.abs(moved - expected).max() < 1e-4


@pytest.mark.parametrize("name", ["shift", "rotation", "scale", "shear", "cut_out"])
def test_each_setting_acts_alone_and_stillness_changes_nothing(name):
    images = blob().repeat(16, 1, 1, 1)
    still = Augmentation(**STILL)(images, generator())
    assert torch.allclose(still, images, atol=1e-5)
    value = getattr(Augmentation(), name)
    acting = Augmentation(**STILL | {name: value})(images, generator())
    assert (acting - images).abs().amax((1, 2, 3)).min() > 0.001


def test_a_shift_stays_within_its_share_of_the_sides():
    images = torch.zeros(500, 1, 28, 28)
    images[:, :, 14, 14] = 1
    shifted = Augmentation(**STILL | {"shift": 0.1})(images, generator())
    rows, columns = torch.arange(28.0).view(1, 28, 1), torch.arange(28.0).view(1, 1, 28)
    for axis in (rows, columns):
        center = (shifted[:, 0] * axis).sum((1, 2)) / shifted[:, 0].sum((1, 2))
        assert (center - 14).abs().max() <= 2.8 + 1e-4
        assert (center - 14).abs().max() > 2.5


def test_the_cover_is_a_square_of_the_mean():
    images = torch.rand(50, 3, 40, 30, generator=generator())
    covered = Augmentation(**STILL | {"cut_out": 0.3})(images, generator(1))
    changed = ((covered - images).abs() > 1e-4).any(1)  # (N, H, W)
    assert changed.sum((1, 2)).max() == 81  # of side 0.3 · 30
    for before, after, where in zip(images, covered, changed, strict=True):
        ys, xs = where.nonzero().T
        assert ys.max() - ys.min() < 9
        assert xs.max() - xs.min() < 9
        assert torch.allclose(after[:, where], before.mean((1, 2))[:, None].expand(-1, len(ys)), atol=1e-5)


def test_two_in_three_are_changed_from_the_generator_alone():
    images = torch.rand(3000, 1, 8, 8, generator=generator())
    first, again = (Augmentation()(images, generator(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, Augmentation()(images, generator(6)))
    share = (first != images).any(3).any(2).any(1).float().mean()
    assert abs(share - 2 / 3) < 0.03
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize(
    ("way", "sides", "count"), [(mirrored, (4, 4), 2), (turned, (4, 4), 8), (turned, (4, 6), 4)]
)
def test_images_lie_in_each_way_as_often(way, sides, count):
    image = torch.rand(1, 2, *sides, generator=generator())
    ways, counts = way(image.expand(8000, -1, -1, -1), generator(1)).unique(dim=0, return_counts=True)
    assert len(ways) == count
    assert (counts - 8000 / count).abs().max() < 5 * (8000 / count) ** 0.5
    for made in ways:
        assert torch.equal(made.flatten().sort().values, image.flatten().sort().values)
    corners = image[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    for made in ways:  # corners stay corners: nothing is moved but as a whole
        assert {tuple(c) for c in made[:, [0, 0, -1, -1], [0, -1, 0, -1]].T.tolist()} == {
            tuple(c) for c in corners.T.tolist()
        }
    assert torch.equal(way(ways, generator(2)), way(ways, generator(2)))


def test_an_augmented_batch_is_drawn_again_as_it_was_given():
    """An autoencoder's target is the turned image; a denoiser's would be the turned one without its noise."""
    images = ImageSet(torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(40, 1, 1, 1).numpy())
    (batch,) = Batches(images, 40, seed=0, augment=turned, transform=lambda x, generator: x + 1).epoch(0)
    assert torch.equal(batch.inputs, batch.images + 1)
    assert len(batch.images.unique(dim=0)) == 8
