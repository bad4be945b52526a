"""Rescaling against the same steps written as loops in NumPy, and the properties it promises."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import AlexNet
from ccssl_tf.models.rescale import _standardize, rescale
from ccssl_tf.runs.errors import InputError

LAYERS = [f"conv{number}" for number in range(1, 6)]
GROUPS = dict(conv1=1, conv2=2, conv3=1, conv4=2, conv5=2)


def uneven(normalization="none", **arguments):
    """A small network whose layers have very different scales."""
    keras.utils.set_random_seed(4)
    network = AlexNet(
        **dict(
            dict(stem="small", normalization=normalization, width_multiplier=0.05, fc_units=()),
            **arguments,
        )
    )
    random = np.random.default_rng(3)
    for layer, scale in zip(network.convolutions(), (0.003, 3, 0.5, 0.05, 2), strict=True):
        kernel = (
            random.normal(size=layer.kernel.shape)
            * scale
            / np.sqrt(np.prod(layer.kernel.shape[:3]))
        )
        layer.set_weights([kernel, random.normal(size=layer.bias.shape) * 0.1 * scale])
    return network


def batches(count=3, side=16):
    return [
        (np.random.default_rng(i).normal(size=[4, side, side, 3]) * 60).astype("float32")
        for i in range(count)
    ]


class Loops:
    """The small AlexNet forward and backward in float64.

    Its weights are in `kernels` and `biases`.
    """

    def __init__(self, network):
        self.kernels, self.biases = (
            dict(zip(LAYERS, w, strict=True))
            for w in zip(*(self._weights(network, n) for n in LAYERS), strict=True)
        )
        self.with_lrn = network.get_config()["normalization"] == "lrn"

    @staticmethod
    def _weights(network, name):
        return [np.float64(weight) for weight in network.get_layer(name).get_weights()]

    def forward(self, x):
        """Returns inputs by layer, the output before the last rectifier, steps for `backward`."""
        inputs, stages = {}, []
        for name in LAYERS:
            inputs[name] = x
            x = self._convolve(name, x)
            stages.append(("conv", name, inputs[name]))
            if name == "conv5":
                return inputs, x, stages
            stages.append(("relu", x > 0))
            x = np.maximum(x, 0)
            if name in ("conv1", "conv2"):
                stages.append(("pool", x))
                x = self._windows(x).max(3)
                if self.with_lrn:
                    stages.append(("lrn", x))
                    x = x / self._energy(x) ** 0.75

    def backward(self, stages, gradient):
        """Returns the gradient of each kernel."""
        kernels = {}
        for kind, *known in reversed(stages):
            if kind == "relu":
                gradient = gradient * known[0]
            elif kind == "conv":
                kernels[known[0]], gradient = self._convolve_back(*known, gradient)
            elif kind == "pool":
                windows, spread = self._windows(known[0]), np.zeros(known[0].shape)
                for place in np.ndindex(*gradient.shape):
                    batch, row, column, channel = place
                    winner = windows[batch, row, column, :, channel].argmax()
                    spread[batch, 2 * row + winner // 2, 2 * column + winner % 2, channel] += (
                        gradient[place]
                    )
                gradient = spread
            else:
                x, energy = known[0], self._energy(known[0])
                inner = gradient * x * energy**-1.75
                gradient = gradient * energy**-0.75 - 2 * 0.75 * 1e-4 / 5 * x * self._neighbours(
                    inner
                )
        return kernels

    @staticmethod
    def _windows(x):
        batch, height, width, channels = x.shape
        return (
            x.reshape(batch, height // 2, 2, width // 2, 2, channels)
            .transpose(0, 1, 3, 2, 4, 5)
            .reshape(batch, height // 2, -1, 4, channels)
        )

    @staticmethod
    def _neighbours(x):
        padded = np.pad(x, [[0, 0]] * 3 + [[2, 2]])
        return sum(padded[..., i : i + x.shape[-1]] for i in range(5))

    def _energy(self, x):
        return 1 + 1e-4 / 5 * self._neighbours(x**2)

    def _padded(self, name, x):
        size, stride = self.kernels[name].shape[0], 2 if name == "conv1" else 1
        total = max((-(-x.shape[1] // stride) - 1) * stride + size - x.shape[1], 0)
        side = [total // 2, total - total // 2]
        return np.pad(x, [[0, 0], side, side, [0, 0]]), size, stride, side

    def _convolve(self, name, x):
        x, size, stride, _ = self._padded(name, x)
        outputs = []
        for part, kernel in zip(
            np.split(x, GROUPS[name], -1),
            np.split(self.kernels[name], GROUPS[name], -1),
            strict=True,
        ):
            windows = np.lib.stride_tricks.sliding_window_view(part, (size, size), (1, 2))[
                :, ::stride, ::stride
            ]
            outputs.append(np.einsum("bhwcij,ijco->bhwo", windows, kernel))
        return np.concatenate(outputs, -1) + self.biases[name]

    def _convolve_back(self, name, x, gradient):
        padded, size, stride, side = self._padded(name, x)
        kernels, inputs = [], []
        parts = (
            np.split(array, GROUPS[name], -1) for array in (padded, self.kernels[name], gradient)
        )
        for part, kernel, top in zip(*parts, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(part, (size, size), (1, 2))[
                :, ::stride, ::stride
            ]
            kernels.append(np.einsum("bhwcij,bhwo->ijco", windows, top))
            below = np.zeros(part.shape)
            for row, column in np.ndindex(*top.shape[1:3]):
                place = np.einsum("bo,ijco->bijc", top[:, row, column], kernel)
                below[
                    :, row * stride : row * stride + size, column * stride : column * stride + size
                ] += place
            inputs.append(below)
        below = np.concatenate(inputs, -1)
        return np.concatenate(kernels, -1), below[
            :, side[0] : side[0] + x.shape[1], side[0] : side[0] + x.shape[2]
        ]


def rescale_in_loops(network, images, seed, rounds=10):
    """The rounds of `rescale`, as its docstring and the paper's section 3.2 tell them."""
    loops = Loops(network)
    totals, sizes_at_first, biases_at_first = dict.fromkeys(LAYERS, 1.0), None, dict(loops.biases)
    for _ in range(rounds):
        random, sizes, squares, outputs = (
            np.random.default_rng(seed),
            dict.fromkeys(LAYERS, 0.0),
            dict.fromkeys(LAYERS, 0.0),
            [],
        )
        for batch in images:
            inputs, output, stages = loops.forward(np.float64(batch))
            kernels = loops.backward(stages, random.normal(size=output.shape))
            outputs.append(output.reshape(-1, output.shape[-1]))
            for name in LAYERS:
                sizes[name] += np.abs(inputs[name]).mean() / len(images)
                squares[name] += (kernels[name] ** 2).mean() / len(images)
        sizes_at_first = sizes_at_first or sizes
        ratios = {
            name: np.sqrt(squares[name] / (loops.kernels[name] ** 2).mean()) for name in LAYERS
        }
        target = np.prod(list(ratios.values())) ** (1 / 5) * np.concatenate(outputs).std(
            0
        ).mean() ** (1 / 5)
        if all(abs(np.log(ratio / target)) < 0.01 for ratio in ratios.values()):
            break
        predicted = 1.0
        for name in LAYERS:
            scale = np.sqrt(ratios[name] / target)
            totals[name] *= scale
            loops.kernels[name] = loops.kernels[name] * scale
            loops.biases[name] = (
                biases_at_first[name]
                * totals[name]
                * sizes[name]
                / sizes_at_first[name]
                * predicted
            )
            predicted *= scale
    return loops, totals


@pytest.mark.parametrize("normalization", ["none", "lrn"])
def test_weights_are_those_of_the_loops(normalization):
    network = uneven(normalization)
    loops, expected = rescale_in_loops(network, batches(), seed=7)
    found = rescale(network, batches(), seed=7)
    assert list(found) == LAYERS and min(found.values()) < 0.8 and max(found.values()) > 1.2
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-3)
    for name in LAYERS:
        kernel, bias = network.get_layer(name).get_weights()
        np.testing.assert_allclose(
            kernel, loops.kernels[name], rtol=2e-3, atol=1e-6 * np.abs(kernel).max(), err_msg=name
        )
        np.testing.assert_allclose(
            bias, loops.biases[name], rtol=2e-3, atol=1e-5 * np.abs(bias).max(), err_msg=name
        )


def test_endpoints_are_the_old_ones_times_the_scales():
    before, network = uneven(), uneven()
    images = batches()[0]
    scales = rescale(network, batches())
    product, expected, found = 1.0, before(images), network(images)
    for name in LAYERS:
        product *= scales[name]
        np.testing.assert_allclose(
            found[name],
            product * expected[name].numpy(),
            rtol=1e-3,
            atol=1e-4 * found[name].numpy().max(),
        )


def test_the_output_has_unit_spread_and_layers_change_alike():
    network = uneven()
    rescale(network, batches())
    loops = Loops(network)
    _, output, stages = loops.forward(np.concatenate(batches()).astype(float))
    assert 0.8 < output.std((0, 1, 2)).mean() < 1.25
    kernels = loops.backward(stages, np.random.default_rng(50).normal(size=output.shape))
    ratios = [
        np.sqrt((kernels[name] ** 2).mean() / (loops.kernels[name] ** 2).mean()) for name in LAYERS
    ]
    assert max(ratios) / min(ratios) < 1.5


def test_the_same_images_and_seed_give_the_same_weights():
    first, second, other = uneven(), uneven(), uneven()
    assert (
        rescale(first, batches()) == rescale(second, batches()) != rescale(other, batches(), seed=1)
    )
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fresh_layers_start_with_unit_variance():
    """fc6 is random: each of its outputs gets mean 0.1 and variance 1 over all batches.

    Nothing else changes.
    """
    network = uneven("lrn", stem="standard", fc_units=(30, 20), image_size=67, conv1_stride=4)
    images, fc6 = batches(5, 67), network.get_layer("fc6")
    fc6.bias.assign(np.arange(30.0))
    before = {layer.name: layer.get_weights() for layer in network.layers}
    _standardize(network, fc6, images)
    inputs = np.concatenate(
        [keras.Model(network.input, fc6.input)(image) for image in images]
    ).astype(float)
    (kernel, bias), (old_kernel, _) = fc6.get_weights(), before["fc6"]
    for unit in range(30):
        output = [float(row @ kernel[:, unit].astype(float)) + bias[unit] for row in inputs]
        assert np.mean(output) == pytest.approx(0.1, abs=1e-3) and np.std(output) == pytest.approx(
            1, rel=1e-3
        )
        factor = kernel[:, unit] / old_kernel[:, unit]
        assert factor.std() < 1e-4 * factor.mean()
    for layer in network.layers:
        if layer is not fc6:
            for ours, theirs in zip(layer.get_weights(), before[layer.name], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_fresh_layers_are_balanced_with_the_others():
    network = uneven("lrn", stem="standard", fc_units=(30, 20), image_size=67, conv1_stride=4)
    scales = rescale(network, batches(5, 67), fresh=("fc6", "fc7"))
    assert list(scales) == [*LAYERS, "fc6", "fc7"] and all(
        np.isfinite(weight).all() for weight in network.get_weights()
    )


def test_batch_normalisation_and_dead_layers_are_refused():
    with pytest.raises(
        InputError, match="--rescale_init: alexnet has batch normalisation, .*--normalization=none"
    ):
        rescale(
            AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.05, fc_units=()),
            batches(),
        )
    network = uneven()
    network.get_layer("conv3").bias.assign(np.full(network.get_layer("conv3").bias.shape, -1e6))
    with pytest.raises(
        InputError, match="--rescale_init: conv[1-5] has no gradient on these images"
    ):
        rescale(network, batches())
