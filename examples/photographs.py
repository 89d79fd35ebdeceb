"""Filter two photographs with a bank of edge, blur and Gabor filters, and look at the responses.

The photographs are scikit-learn's. They go in as one NumPy array, all filters run in one
convolution, and the result is compared with a float64 reference that shares no code with mioconv.

    python examples/photographs.py [PICTURE]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

import mioconv

SIZE = 15  # of every filter, in pixels
LUMINANCE = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look


def filter_bank() -> dict[str, NDArray[np.float64]]:
    """Named filters of SIZE x SIZE pixels. Blurs sum to 1, the others to 0."""
    axis = np.arange(SIZE) - SIZE // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")

    def gaussian(sigma: float) -> NDArray[np.float64]:
        bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        return bell / bell.sum()

    def gabor(degrees: float, wavelength: float = 6.0) -> NDArray[np.float64]:
        angle = np.radians(degrees)
        wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength)
        return gaussian(2.5) * (wave - (gaussian(2.5) * wave).sum())

    motion = np.where(x == y, 1.0, 0.0)
    return {
        "Gaussian blur": gaussian(2.5),
        "Motion blur": motion / motion.sum(),
        "Edges, horizontal change": -x * gaussian(1.0),
        "Edges, vertical change": -y * gaussian(1.0),
        "Spots (difference of Gaussians)": gaussian(1.0) - gaussian(2.0),
        "Gabor 0°": gabor(0),
        "Gabor 30°": gabor(30),
        "Gabor 60°": gabor(60),
        "Gabor 90°": gabor(90),
        "Gabor 120°": gabor(120),
        "Gabor 150°": gabor(150),
    }


def reference(x: NDArray[np.float32], w: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same convolution in float64, by multiplying spectra."""
    height, width = (n + k - 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    # Deep learning's convolution is a correlation: the filter is turned round for a true one.
    flipped = w[:, :, ::-1, ::-1].astype(np.float64)
    spectra = np.fft.rfft2(flipped, (height, width))
    first = SIZE - 1  # where the filter lies within the photograph for the first time
    result = []
    for image in np.fft.rfft2(x.astype(np.float64), (height, width)):
        full = np.fft.irfft2((image * spectra).sum(axis=1), (height, width))
        result.append(full[:, first : x.shape[2], first : x.shape[3]])
    return np.stack(result)


def main(picture: Path = Path("out/photographs.png")) -> None:
    """Filter, compare, report, and write the picture."""
    photographs = np.stack(load_sample_images().images)  # N, height, width, RGB; 0 … 255
    filters = filter_bank()

    x = np.ascontiguousarray(photographs.transpose(0, 3, 1, 2), dtype=np.float32) / 255
    w = np.stack([np.multiply.outer(LUMINANCE, f) for f in filters.values()]).astype(np.float32)

    start = time.perf_counter()
    y = mioconv.conv2d_forward(x, w)
    first = time.perf_counter() - start

    times = []
    for _ in range(10):
        start = time.perf_counter()
        mioconv.conv2d_forward(x, w, out=y)
        times.append(time.perf_counter() - start)
    call = mioconv.last_call()
    difference = np.abs(y - reference(x, w)).max()

    print(f"input       {x.shape} {x.dtype}")
    print(f"weight      {w.shape} {w.dtype}")
    print(f"output      {y.shape} {y.dtype}")
    print(f"provider    {call.provider}")
    print(f"solution    {call.solution_name} (id {call.solution_id})")
    print(f"workspace   {call.workspace_bytes / 2**20:.1f} MiB")
    print(f"time        {np.median(times) * 1e3:.1f} ms a call; the first {first * 1e3:.1f} ms")
    print(f"difference  {difference:.1e} at most from the float64 reference")
    if difference > 1e-5:
        raise SystemExit("the difference is larger than float32 explains")

    contact_sheet(photographs, list(filters), y).save(_made(picture))
    print(f"picture     {picture}")


# --- the picture ---------------------------------------------------------------------------------

INK, MUTED, PAPER = (235, 235, 235), (150, 155, 165), (22, 24, 28)
ZERO = np.array([33, 36, 42])  # no response: a little lighter than the sheet
WARM, COOL = np.array([255, 176, 64]), np.array([64, 160, 255])


def as_image(response: NDArray[np.float32]) -> Image.Image:
    """A response as a picture: blurs in grey; for the rest warm is positive and cool negative."""
    if response.min() >= 0:
        grey = np.clip(response, 0, 1) * 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    # Few pixels are far stronger than the rest: let them saturate, and lift the weak ones.
    strength = np.abs(response) / np.percentile(np.abs(response), 99)
    strength = np.minimum(strength, 1)[..., None] ** 0.8
    colour = np.where(response[..., None] > 0, WARM, COOL)
    blend = ZERO + strength * (colour - ZERO)
    return Image.fromarray(blend.astype(np.uint8))


def contact_sheet(
    photographs: NDArray[np.uint8], names: list[str], responses: NDArray[np.float32]
) -> Image.Image:
    """All photographs and responses with their names, on one sheet."""
    columns, margin, caption, header = 4, 16, 24, 68
    width = 300
    height = width * photographs.shape[1] // photographs.shape[2]
    rows = -(-(1 + len(names)) // columns)
    size = (
        margin + columns * (width + margin),
        header + len(photographs) * (rows * (height + caption) + margin),
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 14), "One convolution, eleven filters", INK, ImageFont.load_default(22))
    legend = "warm: positive response   cool: negative   each map has its own scale"
    draw.text((margin, 42), legend, MUTED, ImageFont.load_default(13))
    font = ImageFont.load_default(14)
    top = header
    for photograph, maps in zip(photographs, responses, strict=True):
        tiles = [("Photograph", Image.fromarray(photograph))]
        tiles += [(name, as_image(m)) for name, m in zip(names, maps, strict=True)]
        for index, (name, tile) in enumerate(tiles):
            left = margin + index % columns * (width + margin)
            upper = top + index // columns * (height + caption)
            sheet.paste(tile.resize((width, height), Image.Resampling.LANCZOS), (left, upper))
            draw.text((left, upper + height + 3), name, INK, font)
        top += rows * (height + caption) + margin
    return sheet


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
