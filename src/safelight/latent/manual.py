"""The README of exported networks: what they take and give, and how to feed them any picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from safelight.config.data import Fit

__all__ = ["manual"]

SHOWN = 20  # names of classes


def manual(fit: Fit, models: Collection[str], classes: Sequence[str] = (), numbers: int = 0) -> str:
    """A README for the models of one folder.

    Args:
        fit: of the images that they were made for.
        models: names of their files.
        classes: names of a classifier's.
        numbers: of noise that an autoencoder's new code is drawn from.
    """
    channels, height, width = fit.shape
    size = f"(N, {channels}, {height}, {width})"
    rows = {
        "encoder.onnx": (
            "an autoencoder",
            f"`pixels` {size}",
            "`mu`, the codes, (N, D); `logvar`, if they vary",
        ),
        "decoder.onnx": ("", "`z` (N, D)", f"`pixels` {size}"),
        "prior.onnx": ("", "`noise`, standard normal, as wide as its input says", "`z` (N, D), new codes"),
        "base.onnx": (
            "",
            "`z` (N, D)",
            "the `noise` that prior.onnx makes them of; walks are straight there",
        ),
        "classifier.onnx": (
            "a classifier",
            f"`pixels` {size}",
            f"`probabilities` (N, {len(classes)}); `unlikeness` (N,), where it was learned: above 1 is less "
            "like the training images than 99 of 100 of them",
        ),
        "denoiser.onnx": (
            "a denoiser",
            f"`pixels` (N, {channels}, H, W), H and W from 8 up",
            "`clean`, of the same size",
        ),
    }
    kind = next(rows[name][0] for name in rows if name in models)
    table = "\n".join(f"| `{name}` | {rows[name][1]} | {rows[name][2]} |" for name in rows if name in models)
    low, high = (f"{value:g}" for value in fit.range)
    names = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
    told = f"\nThe classes, in their order: {names}; all are in the file's metadata.\n" if classes else ""
    script = "\n".join([*_picture(fit, kind), *_use(models)])
    drawn = _drawing("prior.onnx" in models, numbers) if "decoder.onnx" in models else ""
    return f"""# {kind.capitalize()} in ONNX files

Written by [safelight](https://pypi.org/project/safelight/).

| file | takes | gives |
| --- | --- | --- |
{table}

All are float32; N is any number of images. Pixels go from {low} (black) to {high} (white), as in the training
images: the scaling is inside. `fit.json`, also in each file's metadata, says how pictures of other kinds
became images of {height}×{width}.
{told}
## Python

`pip install onnxruntime numpy pillow`

```python
{script}
```
{drawn}
## JavaScript

`npm install onnxruntime-web` for a browser, `onnxruntime-node` for Node.js.

```js
import * as ort from "onnxruntime-web";

const session = await ort.InferenceSession.create("{next(name for name in rows if name in models)}");
const pixels = new ort.Tensor("float32", new Float32Array({channels * height * width}).fill({low}), \
[1, {channels}, {height}, {width}]);
const found = await session.run({{ pixels }}); // by the names above, each with .dims and .data
```
"""


def _drawing(is_learned: bool, numbers: int) -> str:
    noise = f"np.random.randn(16, {numbers}).astype(np.float32)"
    codes = 'onnxruntime.InferenceSession("prior.onnx").run(["z"], {"noise": noise})[0]'
    return f"""
New images:

```python
noise = {noise}
z = {codes if is_learned else "noise"}
new = onnxruntime.InferenceSession("decoder.onnx").run(["pixels"], {{"z": z}})[0]
```
"""


def _picture(fit: Fit, kind: str) -> list[str]:
    """Lines that make `pixels` of a picture's file as the run does."""
    channels, height, width = fit.shape
    low, high = fit.range
    lines = ["import numpy as np", "import onnxruntime"]
    if channels not in (1, 3):
        return [
            *lines,
            "",
            f"pixels = np.full((1, {channels}, {height}, {width}), {low:g}, np.float32)  # yours",
        ]
    mode, border = "L" if channels == 1 else "RGB", fit.background == "border"
    behind = "white" if border else fit.background
    lines += ["from PIL import Image, ImageOps", ""]
    lines += [
        'picture = ImageOps.exif_transpose(Image.open("picture.png")).convert("RGBA")  # of 8 bits',
        f'behind = Image.new("RGBA", picture.size, "{behind}")',
        f'picture = Image.alpha_composite(behind, picture).convert("{mode}")',
    ]
    lines += ["image = picture"] if kind == "a denoiser" else _resizing(fit, mode, border)
    span = "" if (high - low) == 255 else f" * {(high - low) / 255:.9g}"
    start = "" if low == 0 else f"{low:g} + "
    shape = f"1, image.height, image.width, {channels}"
    made = f"np.asarray(image, np.float32).reshape({shape}).transpose(0, 3, 1, 2)"
    return [*lines, f"pixels = {start}{made}{span}"]


def _resizing(fit: Fit, mode: str, border: bool) -> list[str]:
    size, filtered = f"({fit.width}, {fit.height})", "Image.Resampling.BICUBIC"
    if fit.how == "stretch":
        return [f"image = picture.resize({size}, {filtered})"]
    if fit.how == "crop":
        return [f"image = ImageOps.fit(picture, {size}, {filtered})"]
    if fit.how == "tile":
        return [f"image = picture.crop((0, 0, {fit.width}, {fit.height}))  # one tile; likewise the others"]
    lines, behind = [], f'"{fit.background}"'
    if border:
        edges = "x[0], x[-1], x[:, 0], x[:, -1]"
        lines = [
            f"x = np.asarray(picture).reshape(picture.height, picture.width, {fit.channels})",
            f"border = np.rint(np.median(np.concatenate([{edges}]), axis=0)).astype(int)",
        ]
        behind = "tuple(border.tolist())"
    return [
        *lines,
        f"scale = min({fit.width} / picture.width, {fit.height} / picture.height)",
        f"picture = picture.resize([max(1, round(s * scale)) for s in picture.size], {filtered})",
        f'image = Image.new("{mode}", {size}, {behind})',
        f"image.paste(picture, (({fit.width} - picture.width) // 2, ({fit.height} - picture.height) // 2))",
    ]


def _use(models: Collection[str]) -> list[str]:
    """Lines that run the models on `pixels`."""

    def session(name: str) -> str:
        return f'onnxruntime.InferenceSession("{name}.onnx")'

    if "classifier.onnx" in models:
        return [
            f'found = {session("classifier")}.run(None, {{"pixels": pixels}})',
            "probabilities = found[0]",
        ]
    if "denoiser.onnx" in models:
        return [f'clean = {session("denoiser")}.run(["clean"], {{"pixels": pixels}})[0]']
    lines = [f'mu = {session("encoder")}.run(["mu"], {{"pixels": pixels}})[0]']
    return [*lines, f'again = {session("decoder")}.run(["pixels"], {{"z": mu}})[0]']
