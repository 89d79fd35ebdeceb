"""Train a small convolutional network on handwritten digits, with NumPy and mioconv alone.

The digits are scikit-learn's: 1797 pictures of 8 x 8 pixels. Every layer is a convolution, the
last one too: its filters are as large as what is left of the picture, one for each digit. mioconv
computes the layers and their gradients; the rest is NumPy.

    python examples/digits.py [PICTURE]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import mioconv

SEED, EPOCHS, BATCH = 0, 40, 64
LEARNING_RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.005
GOAL = 0.97  # of the test pictures

Array = NDArray[np.float32]


# --- the network ---------------------------------------------------------------------------------


class Layer:
    """A convolution with bias, and ReLU where `relu` is set; it learns by momentum."""

    def __init__(self, weight: Array, stride: int = 1, padding: int = 0, relu: bool = True) -> None:
        self.weight, self.bias = weight, np.zeros(len(weight), np.float32)
        self.momenta = [np.zeros_like(self.weight), np.zeros_like(self.bias)]
        self.stride, self.padding, self.relu = stride, padding, relu

    def forward(self, x: Array) -> Array:
        run = mioconv.conv2d_relu_forward if self.relu else mioconv.conv2d_forward
        self.x, self.y = x, run(x, self.weight, self.bias, self.stride, self.padding)
        return self.y

    def backward(self, grad: Array, mask: tuple[bool, bool, bool]) -> tuple[Any, ...]:
        """Gradients of input, weight and bias from that of the output; None where masked."""
        if self.relu:
            grad = grad * (self.y > 0)
        return mioconv.conv2d_backward(
            self.x, grad, self.weight, self.stride, self.padding, output_mask=mask
        )

    def learn(self, gradients: Sequence[Array], rate: float) -> None:
        values = (self.weight, self.bias)
        for value, momentum, gradient in zip(values, self.momenta, gradients, strict=True):
            momentum *= MOMENTUM
            momentum += gradient + DECAY * value
            value -= rate * momentum


def network(rng: np.random.Generator) -> list[Layer]:
    """8 x 8 pixels → 16 maps of 8 x 8 → 32 maps of 8 x 8 → 32 maps of 4 x 4 → 10 numbers."""

    def weight(*shape: int) -> Array:
        spread = np.sqrt(2 / np.prod(shape[1:]))  # keeps the signal's strength through ReLU
        return (spread * rng.standard_normal(shape)).astype(np.float32)

    return [
        Layer(weight(16, 1, 5, 5), padding=2),
        Layer(weight(32, 16, 3, 3), padding=1),
        Layer(weight(32, 32, 3, 3), padding=1, stride=2),
        Layer(weight(10, 32, 4, 4), relu=False),
    ]


def predict(layers: list[Layer], x: Array) -> Array:
    """Probabilities of the ten digits."""
    for layer in layers:
        x = layer.forward(x)
    scores = np.exp(x - x.max(axis=1, keepdims=True))
    return (scores / scores.sum(axis=1, keepdims=True)).reshape(len(x), 10)


def step(layers: list[Layer], x: Array, digits: NDArray[np.int64], rate: float) -> float:
    """Learn from one batch; its loss (cross entropy) before that."""
    chosen = (np.arange(len(digits)), digits)
    p = predict(layers, x)
    loss = -np.log(p[chosen] + 1e-9).mean()

    p[chosen] -= 1  # the gradient of cross entropy after softmax
    grad = (p / len(x)).reshape(len(x), 10, 1, 1)
    for layer in reversed(layers):
        grad, *gradients = layer.backward(grad, (layer is not layers[0], True, True))
        layer.learn(gradients, rate)
    return float(loss)


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """A batch moved by up to a pixel: no network should mind where a digit stands."""
    down, right = rng.integers(0, 3, 2)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return padded[:, :, down : down + 8, right : right + 8]


def accuracy(layers: list[Layer], x: Array, digits: NDArray[np.int64]) -> float:
    return float((predict(layers, x).argmax(axis=1) == digits).mean())


def load() -> Sequence[Any]:
    """Pictures to learn from and to test with, then their digits."""
    images, digits = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)  # 0 … 1
    parts: Sequence[Any] = train_test_split(
        x, digits, test_size=0.25, stratify=digits, random_state=SEED
    )
    return parts


def batches(rng: np.random.Generator, count: int) -> list[NDArray[np.int64]]:
    """Which pictures each batch of an epoch takes; a remainder sits this one out."""
    order = rng.permutation(count)
    return [order[start : start + BATCH] for start in range(0, count - BATCH + 1, BATCH)]


def main(picture: Path = Path("out/digits.png")) -> None:
    """Train, report, and write the picture."""
    x, test_x, digits, test_digits = load()
    rng = np.random.default_rng(SEED)
    layers = network(rng)
    # A layer takes about a tenth of a millisecond here: not worth waking a second thread for.
    mioconv.set_flags(num_threads=1)
    print(f"digits      {len(x)} to learn from, {len(test_x)} others to test with")

    losses: list[float] = []
    tests: list[float] = []
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        rate = LEARNING_RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
        chosen = batches(rng, len(x))
        for done, batch in enumerate(chosen, start=1):
            losses.append(step(layers, shifted(x[batch], rng), digits[batch], rate))
            progress(epoch + done / len(chosen), losses[-1], tests)
        tests.append(accuracy(layers, test_x, test_digits))
    seconds = time.perf_counter() - start

    progress(EPOCHS, losses[-1], tests)
    show_choices(layers, x[:BATCH])
    print(f"time        {seconds:.1f} s, {seconds / EPOCHS * 1e3:.0f} ms an epoch")
    print(f"accuracy    {tests[-1]:.2%} of the test digits")
    poster(layers, losses, tests, test_x, test_digits).save(_made(picture))
    print(f"picture     {picture}")
    if tests[-1] < GOAL:
        raise SystemExit(f"the accuracy is below {GOAL:.0%}")


# --- what is printed -----------------------------------------------------------------------------


def progress(epochs: float, loss: float, tests: list[float]) -> None:
    """A bar that is drawn over itself; where the output is no terminal, one line at the end."""
    done = epochs == EPOCHS and len(tests) == EPOCHS
    if not (sys.stdout.isatty() or done):
        return
    width = 30
    filled = round(width * epochs / EPOCHS)
    tested = f"test {tests[-1]:.1%}" if tests else ""
    bar = "█" * filled + "░" * (width - filled)
    start = "\r" if sys.stdout.isatty() else ""
    print(
        f"{start}training    {bar} epoch {min(int(epochs) + 1, EPOCHS)}/{EPOCHS}  "
        f"loss {loss:.4f}  {tested}",
        end="\n" if done else "",
        flush=True,
    )


def show_choices(layers: list[Layer], x: Array) -> None:
    """Which of the library's solutions computes each layer, and its gradients."""

    def chosen() -> str:
        call = mioconv.last_call()
        return (call.solution_name or call.way) if call else ""

    rows = [["layer", "forward", "gradient of input", "gradient of weight"]]
    for layer in layers:
        maps, channels, height, width = layer.weight.shape
        row = [f"{channels} → {maps}, {height} x {width}"]
        x = layer.forward(x)
        row.append(chosen())
        for mask in ((True, False, False), (False, True, False)):
            if mask[0] and layer is layers[0]:
                row.append("not needed")
                continue
            layer.backward(np.ones_like(x), mask)
            row.append(chosen())
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(map(str.ljust, row, widths)).rstrip())


# --- the picture ---------------------------------------------------------------------------------

INK, MUTED, FAINT, PAPER = (235, 235, 235), (150, 155, 165), (52, 56, 64), (22, 24, 28)
ZERO = (33, 36, 42)  # a weight or pixel of 0: a little lighter than the sheet
WARM, COOL = (255, 176, 64), (64, 160, 255)
WIDTH, HEIGHT, MARGIN = 1120, 780, 32
FINE = 3  # lines are drawn so many times larger and then shrunk, which smooths them


def poster(
    layers: list[Layer],
    losses: list[float],
    tests: list[float],
    x: Array,
    digits: NDArray[np.int64],
) -> Image.Image:
    """Filters, curves and predictions on one sheet."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    text(draw, (MARGIN, 18), "Handwritten digits, learned by convolutions", 24)
    text(draw, (MARGIN, 52), f"{tests[-1]:.1%} of {len(x)} test digits are right", 14, MUTED)

    top, side, right = 92, 312, 400
    text(draw, (MARGIN, top), "Filters of the first layer")
    text(draw, (MARGIN + 184, top + 2), "warm: positive", 13, WARM)
    text(draw, (MARGIN + 280, top + 2), "negative", 13, COOL)
    for index, weight in enumerate(layers[0].weight[:, 0]):
        corner = (MARGIN + index % 4 * 80, top + 28 + index // 4 * 80)
        sheet.paste(tile(weight / np.abs(weight).max(), 72), corner)

    width = WIDTH - MARGIN - right
    smooth = np.convolve(losses, np.ones(15) / 15, mode="valid").tolist()
    text(draw, (right, top), "Loss of each batch")
    chart = curve((width, 150), [(losses, FAINT), (smooth, WARM)], (0.01, 0.1, 1, 10), log=True)
    sheet.paste(chart, (right, top + 28))
    text(draw, (right, top + 194), "Test digits that are right, after each epoch")
    chart = curve((width, side - 222 + 28), [(tests, COOL)], (0.8, 0.9, 1))
    sheet.paste(chart, (right, top + 222))

    top += side + 60
    text(draw, (MARGIN, top), "Predictions, and the probabilities of 0 to 9")
    text(draw, (MARGIN + 330, top + 2), "wrong ones first", 13, WARM)
    p = predict(layers, x)
    right_ones = p.argmax(axis=1) == digits
    shown = np.concatenate([np.flatnonzero(~right_ones)[:14], np.flatnonzero(right_ones)])[:28]
    for place, index in enumerate(shown):
        across, down = place % 14, place // 14
        corner = (MARGIN + round(across * (WIDTH - 2 * MARGIN - 64) / 13), top + 30 + down * 138)
        prediction(sheet, draw, corner, x[index, 0], p[index], int(digits[index]))
    return sheet


def text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    words: str,
    size: int = 16,
    colour: tuple[int, int, int] = INK,
) -> None:
    draw.text(corner, words, colour, ImageFont.load_default(size))


def tile(values: Array, size: int, positive: tuple[int, int, int] = WARM) -> Image.Image:
    """Values of -1 … 1 as squares of colour."""
    strength = np.abs(values)[..., None]
    colour = np.where(values[..., None] > 0, positive, COOL)
    blend = ZERO + strength * (colour - np.array(ZERO))
    return Image.fromarray(blend.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)


def curve(
    size: tuple[int, int],
    lines: list[tuple[list[float], tuple[int, int, int]]],
    marks: tuple[float, ...],
    log: bool = False,
) -> Image.Image:
    """Lines over the same span, between the first and the last mark."""
    width, height, scale = size[0], size[1], np.log if log else np.float64
    low, high = scale(marks[0]), scale(marks[-1])
    chart = Image.new("RGB", (width * FINE, height * FINE), PAPER)
    draw = ImageDraw.Draw(chart)
    left = 44  # room for the marks' names

    def y(value: float) -> float:
        share = (scale(max(value, marks[0])) - low) / (high - low)
        return (height - 8 - min(share, 1.02) * (height - 16)) * FINE

    for mark in marks:
        draw.line([(left * FINE, y(mark)), (width * FINE, y(mark))], FAINT, FINE)
    for values, colour in lines:
        across = np.linspace(left, width - 2, len(values)) * FINE
        points = [(a, y(value)) for a, value in zip(across, values, strict=True)]
        draw.line(points, colour, (1 if colour == FAINT else 2) * FINE, joint="curve")
    chart = chart.resize(size, Image.Resampling.LANCZOS)
    for mark in marks:
        name = f"{mark:g}" if log else f"{mark:.0%}"
        text(ImageDraw.Draw(chart), (0, round(y(mark) / FINE) - 8), name, 12, MUTED)
    return chart


def prediction(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    picture: Array,
    probabilities: Array,
    digit: int,
) -> None:
    """One test digit, what the network makes of it, and how sure it is."""
    left, top = corner
    best = int(probabilities.argmax())
    colour = INK if best == digit else WARM
    sheet.paste(tile(picture, 64, colour), corner)
    for value, p in enumerate(probabilities):
        x, y = left + value * 6.5, top + 98
        draw.rectangle((x, y - 24, x + 4, y), ZERO)
        if p > 0.02:
            draw.rectangle((x, y - round(24 * float(p)), x + 4, y), colour)
    text(draw, (left, top + 102), f"{best}" if best == digit else f"{best}, is {digit}", 14, colour)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
