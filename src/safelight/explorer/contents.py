"""What the page of a run holds: codes, maps, columns, thumbnails and networks, packed for a browser."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.config.latent import MAX_PAGE_IMAGES, PageConfig
from safelight.data.images import ImageSet
from safelight.errors import ConfigError
from safelight.latent.charts import map_words
from safelight.latent.codes import Codes
from safelight.latent.maps import LatentMap, project
from safelight.latent.onnx import OnnxModels, to_onnx
from safelight.latent.sampling import fit_mixture
from safelight.latent.walks import QUANTILES
from safelight.networks.base import Autoencoder
from safelight.tasks.classify import Predictions
from safelight.tasks.priors import Prior

__all__ = ["Package", "pack", "page_contents", "page_networks"]

THUMBNAIL = (32, 128)  # pixels of the longer side, at most: of many images and of few
THUMBNAIL_BYTES = 32e6  # of all together, from which on they are made smaller
MAPS = {"tsne": "t-SNE", "umap": "UMAP"}
PROBES = 64  # codes on which networks in half precision are compared
LARGE = 256  # numbers from which a tensor is worth halving
NARROW = {"float64": "float32", "int64": "int32", "float32": "float32", "uint8": "uint8"}


@dataclass(frozen=True, eq=False)
class Package:
    """Values and arrays for JavaScript.

    Attributes:
        header: what JSON can hold.
        arrays: uint8, int32 or float32, read flat.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def pack(package: Package) -> bytes:
    """A package as gzipped bytes: the header's length, the header as JSON, arrays at multiples of 8 bytes.

    Args:
        package: what to pack; its header gains `arrays`, which says where each is.

    Example:
        >>> packed = pack(Package({"n": 1}, {"loss": np.ones(3, np.float32)}))
        >>> np.frombuffer(gzip.decompress(packed), np.float32)[-3:].tolist()
        [1.0, 1.0, 1.0]
    """

    def laid_out(start: int) -> tuple[bytes, list[dict[str, Any]]]:
        places, at = [], start
        for name, array in package.arrays.items():
            at += -at % 8
            places.append({"name": name, "kind": array.dtype.name, "offset": at, "count": array.size})
            at += array.nbytes
        return json.dumps({**package.header, "arrays": places}).encode(), places

    start = 4 + len(laid_out(1 << 40)[0])  # offsets are shorter than that, and JSON may end in spaces
    header, places = laid_out(start)
    content = bytearray(len(header.ljust(start - 4)).to_bytes(4, "little") + header.ljust(start - 4))
    for place, array in zip(places, package.arrays.values(), strict=True):
        content += bytes(place["offset"] - len(content))
        content += np.ascontiguousarray(array).tobytes()
    return gzip.compress(bytes(content), 9, mtime=0)


def page_contents(
    codes: Codes,
    images: ImageSet | None,
    about: Mapping[str, Any],
    on_progress: Callable[[int, int], object] | None = None,
    config: PageConfig | None = None,
    found: Predictions | None = None,
) -> Package:
    """Codes, their maps and the images they are of.

    Codes take 8 bits a number, images at most 32 pixels a side, or up to 128 where they are few.

    Args:
        codes: of at most 70,000 training images.
        images: the same images, or None to leave them out.
        about: title, source, fingerprint, total, shape, has_prior and has_flow.
        on_progress: called with the iterations of t-SNE that are done and those there are.
        config: which maps.
        found: what a classifier tells the images to be, whose features the codes are.

    Raises:
        ConfigError: there are more, or UMAP is not installed.
        DataError: no code is finite.

    Example:
        >>> import safelight
        >>> from safelight.latent.codes import encode
        >>> from safelight.networks.deep_conv import DeepConvVAE
        >>> from safelight.tasks.objective import Bernoulli
        >>> images = safelight.load("digits").subset(slice(50))
        >>> codes = encode(DeepConvVAE((1, 8, 8)), Bernoulli(), images)
        >>> package = page_contents(codes, images, {"title": "digits"})
        >>> package.arrays["codes8"].shape, package.arrays["thumbnails"].shape
        ((50, 20), (50, 1, 8, 8))
    """
    if len(codes) > MAX_PAGE_IMAGES:
        raise ConfigError(f"n: expected at most {MAX_PAGE_IMAGES:,} images in a page, got {len(codes):,}")
    config = replace(config or PageConfig(), n=max(1, len(codes)))
    good = np.isfinite(codes.mu).all(1)
    if not good.all():
        codes = codes.finite()
        images = images and images.subset(np.flatnonzero(good))
        found = found and found._replace(probabilities=found.probabilities[good])
    least, most = codes.mu.min(0), codes.mu.max(0)
    span = np.where(most > least, most - least, 1)
    maps = [
        (MAPS[config.map], project(codes, config.map_config(config.map, 2), on_progress)),
        ("PCA", project(codes, config.map_config("pca", 2))),
        ("PCA in space", project(codes, config.map_config("pca", 3))),
    ]
    low, high = np.quantile(codes.mu, QUANTILES, axis=0)
    arrays: dict[str, NDArray[Any]] = {
        "codes8": np.round((codes.mu - least) / span * 255).astype(np.uint8),
        "loss": codes.reconstruction,
        "label": np.full(len(codes), -1) if codes.labels is None else codes.labels,
        "cluster": maps[0][1].clusters,
        "tells": codes.spread(),
        **{"least": least, "most": most, "low": low, "high": high, "mean": codes.mu.mean(0)},
    }
    if found is None:
        mixture = fit_mixture(codes)
        values, vectors = np.linalg.eigh(mixture.covariances)
        roots = vectors * np.sqrt(values.clip(0))[:, None]  # (K, D, D)
        arrays |= {"weights": mixture.weights, "means": mixture.means, "roots": roots}
    else:
        probabilities = found.probabilities
        arrays |= {"predicted": probabilities.argmax(1), "probability": probabilities.max(1)}
    arrays |= {f"points{place}": found.points for place, (_, found) in enumerate(maps)}
    classes = (found.classes if found else images and images.classes) or ()
    if images is not None:
        arrays["thumbnails"] = _thumbnails(images)
    header = {
        **about,
        "n": len(codes),
        "latent": codes.mu.shape[1],
        "is_variational": codes.logvar is not None,
        "thumbnail": None if images is None else arrays["thumbnails"].shape[1:],
        "names": codes.names,
        "has_labels": codes.labels is not None,
        "has_predictions": found is not None,
        "classes": list(classes),
        "projections": [
            {"name": name, "dims": found.config.dims, "words": _words(found)} for name, found in maps
        ],
    }
    return Package(header, {name: array.astype(NARROW[array.dtype.name]) for name, array in arrays.items()})


def _words(found: LatentMap) -> str:
    return ". ".join([*map_words(found), *found.notes]) + "."


def _thumbnails(images: ImageSet) -> NDArray[np.uint8]:
    """Images as uint8, (N, C, h, w), made smaller by taking means where they are large."""
    channels, height, width = images.shape
    least, most = THUMBNAIL
    side = min(most, max(least, math.isqrt(int(THUMBNAIL_BYTES / (len(images) * channels)))))
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = np.empty((len(images), channels, *size), np.uint8)
    for chunk in images.chunks():
        x = images.floats(chunk)
        if factor < 1:
            x = torch.nn.functional.adaptive_avg_pool2d(x, size)
        small[chunk] = (x * 255).round().numpy()
    return small


def page_networks(network: Autoencoder, images: ImageSet, prior: Prior | None = None) -> OnnxModels:
    """Both halves of a network for pixels from 0 to 1, in half precision where that does no harm.

    Args:
        network: left as it is.
        images: some of those that it was trained on. On the first 64, half precision may change no pixel that
            is decoded by more than 1/255.
        prior: one that was learned; it is small, and stays as it is.

    Raises:
        ConfigError, RunError: as for `to_onnx`.
    """
    models = to_onnx(network, images.shape, (0.0, 1.0), prior)
    small = models._replace(encoder=_halved(models.encoder), decoder=_halved(models.decoder))
    x = images.floats(slice(PROBES)).numpy()
    decoded = [_run(found.decoder, "z", _run(found.encoder, "pixels", x)) for found in (models, small)]
    is_harmless = np.abs(decoded[0] - decoded[1]).max() <= 1 / 255
    return small if is_harmless else models


def _halved(content: bytes) -> bytes:
    """A model whose large tensors are stored as float16 and cast to float32 when it is loaded."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(content)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and (values := numpy_helper.to_array(tensor)).size >= LARGE:
            if np.abs(values).max() > np.finfo(np.float16).max:
                return content
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    halved: bytes = model.SerializeToString()
    return halved


def _run(content: bytes, name: str, values: NDArray[Any]) -> NDArray[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(None, {name: values})[0]
    return result
