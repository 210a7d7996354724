"""Averages over training sets against quadrature, simulation, fifty digits and exact results."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff import equivalents as eq
from lindiff import spectra

ALPHA = np.array([0.999, 0.7, 0.05])
FLOOR = np.array([[0.0], [0.02], [0.5]])
LOSSES = {
    "residual": eq.residual_loss,
    "training": eq.training_loss,
    "test": eq.test_loss,
    "gap": eq.gap,
    "gap with penalty": lambda *a, **k: eq.gap(*a, penalty=True, **k),
    "alignment": eq.alignment,
    "alignment to a floor": lambda *a, **k: eq.alignment(*a, reference_floor=0.3, **k),
    "pair": lambda s, n, a, **k: eq.alignment_pair(s, n, 2 * n, a, floor_other=0.1, **k),
}
SPECTRUM = spectra.power_law(36, 1.0)


# Isotropic populations: every average is an integral over the Marcenko-Pastur law.


def law(q, count=6000):
    """Eigenvalues and weights of a midpoint rule for the law, and its atom at zero."""
    low, high = spectra.marchenko_pastur_edges(q)
    angle = np.pi * (np.arange(count) + 0.5) / count
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
    weight = spectra.marchenko_pastur_density(x, q) * 0.5 * np.pi * (high - low) / count
    return np.append(x, 0.0), np.append(weight * np.sin(angle), spectra.marchenko_pastur_atom(q))


def isotropic_losses(q, level, floor):
    """Losses per dimension, from eigenvalues and the definition of the fitted denoiser."""
    x, mass = law(q)
    noise = 1 - level
    w = np.sqrt(noise) / (level * (x + floor) + noise)
    clean = (1 - np.sqrt(noise) * w) ** 2
    training = clean + level * x * w**2
    test = clean + level * w**2
    best = np.sqrt(noise) / (level * (1 + 0.3) + noise)
    other, other_mass = law(q / 2)
    w_other = np.sqrt(noise) / (level * (other + 0.1) + noise)
    pair = mass @ w**2 + other_mass @ w_other**2 - 2 * (mass @ w) * (other_mass @ w_other)
    values = {
        "residual": training + level * floor * w**2,
        "training": training,
        "test": test,
        "gap": test - training,
        "gap with penalty": test - training - level * floor * w**2,
        "alignment": (w - np.sqrt(noise)) ** 2,
        "alignment to a floor": (w - best) ** 2,
    }
    return {name: mass @ value for name, value in values.items()} | {"pair": pair}


@pytest.mark.parametrize("q", [0.2, 0.8, 1.0, 3.0])
@pytest.mark.parametrize("name", LOSSES)
def test_isotropic_losses_are_marchenko_pastur_integrals(name, q):
    n = 100
    found = LOSSES[name]([1.0], n, ALPHA, floor=FLOOR, multiplicities=[q * n])
    for i, floor in enumerate(FLOOR.ravel()):
        for j, level in enumerate(ALPHA):
            expected = q * n * isotropic_losses(q, level, floor)[name]
            # The reference subtracts nearly equal losses where the gap is small.
            assert_allclose(found[i, j], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("q", [0.2, 0.8, 3.0])
def test_isotropic_traces_and_divergence_are_integrals(q):
    x, mass = law(q)
    n, z, d = 100, np.array([1e-2, 0.3, 5.0]), 100 * q
    shifted = x + z[:, None]
    given = dict(multiplicities=[d])
    assert_allclose(eq.trace_resolvent([1.0], n, z, **given), d * (1 / shifted) @ mass, rtol=1e-10)
    squared = eq.trace_resolvent_squared([1.0], n, z, **given)
    assert_allclose(squared, d * (1 / shifted**2) @ mass, rtol=1e-10)
    assert_allclose(eq.log_det([1.0], n, z, **given), d * np.log(shifted) @ mass, rtol=1e-10)
    kl = 0.5 * (1 / shifted - 1 + np.log(shifted)) @ mass * d
    assert_allclose(eq.kl([1.0], n, floor=z, **given), kl, rtol=1e-10)
    reverse = 0.5 * (x + z[:, None] - 1 - np.log(shifted)) @ mass * d
    assert_allclose(eq.kl([1.0], n, floor=z, reverse=True, **given), reverse, rtol=1e-10)


@pytest.mark.parametrize("q", [0.2, 0.8, 3.0])
def test_integrals_of_the_law_with_an_estimated_mean(q):
    n, z, d = 101, np.array([1e-2, 0.3, 5.0]), 100 * q
    x, mass = law(q)
    # Centred data have N - 1 degrees of freedom and are divided by N.
    x = x * (n - 1) / n
    shifted = x + z[:, None]
    given = dict(multiplicities=[d], estimated_mean=True)
    kl = 0.5 * ((1 + 1 / n) / shifted - 1 + np.log(shifted)) @ mass * d
    assert_allclose(eq.kl([1.0], n, floor=z, **given), kl, rtol=1e-10)
    reverse = 0.5 * (shifted + 1 / n - 1 - np.log(shifted)) @ mass * d
    assert_allclose(eq.kl([1.0], n, floor=z, reverse=True, **given), reverse, rtol=1e-10)
    assert_allclose(eq.trace_resolvent([1.0], n, z, **given), d * (1 / shifted) @ mass, rtol=1e-10)
    squared = eq.trace_resolvent_squared([1.0], n, z, **given)
    assert_allclose(squared, d * (1 / shifted**2) @ mass, rtol=1e-10)
    assert_allclose(eq.log_det([1.0], n, z, **given), d * np.log(shifted) @ mass, rtol=1e-10)
    level, noise = 0.7, 0.3
    w = np.sqrt(noise) / (level * shifted + noise)
    clean = (1 - np.sqrt(noise) * w) ** 2
    seen, training = level * (1 + 1 / n) * w**2, clean + level * x * w**2
    best = np.sqrt(noise)
    expected = {
        eq.training_loss: training,
        eq.test_loss: clean + seen,
        eq.gap: clean + seen - training,
        eq.alignment: (w - best) ** 2 + level / n * w**2,
    }
    for loss, values in expected.items():
        found = loss([1.0], n, level, floor=z, **given)
        assert_allclose(found, d * values @ mass, rtol=1e-10, err_msg=loss.__name__)


# Fifty digits: the textbook forms, which cancel, and derivatives of the free energy.


class Exact:
    """Free energy with a diagonal source, in multiple precision."""

    def __init__(self, values, counts, n, z):
        self.values = [mpmath.mpf(float(v)) for v in values]
        self.counts = [mpmath.mpf(float(m)) for m in counts]
        self.n, self.z = mpmath.mpf(float(n)), z

    def kappa(self, source):
        modes = list(zip(self.values, self.counts, source, strict=True))
        k = mpmath.mpf(0)
        for _ in range(400):
            gain = mpmath.fsum(m * k * v / (k * v + self.z + j) for v, m, j in modes) / self.n
            slope = mpmath.fsum(
                m * v * (self.z + j) / (k * v + self.z + j) ** 2 for v, m, j in modes
            )
            step = (1 - gain - k) / (1 + slope / self.n)
            k += step
            if abs(step) < k * mpmath.mpf(10) ** -70:
                break
        return k

    def energy(self, source, one_loop):
        k = self.kappa(source)
        modes = list(zip(self.values, self.counts, source, strict=True))
        value = mpmath.fsum(m * mpmath.log(k * v + self.z + j) for v, m, j in modes)
        value -= self.n * (mpmath.log(k) + 1 - k)
        if one_loop:
            softness = mpmath.fsum(m * (k * v / (k * v + self.z + j)) ** 2 for v, m, j in modes)
            value += mpmath.log(1 - softness / self.n) / 2
        return value

    def first(self, weights, one_loop):
        return mpmath.diff(lambda e: self.energy([e * g for g in weights], one_loop), 0)

    def second(self, weights, one_loop):
        def energy(e, s):
            return self.energy([e * g + s for g in weights], one_loop)

        return -mpmath.diff(energy, (0, 0), (1, 1))


def exact_losses(values, counts, n, level, floor, one_loop):
    """Losses by their definitions with traces from derivatives of the free energy."""
    with mpmath.workdps(90):
        level, c = mpmath.mpf(float(level)), mpmath.mpf(float(floor))
        s2 = (1 - level) / level
        model = Exact(values, counts, n, s2 + c)
        d, ones = mpmath.fsum(model.counts), [mpmath.mpf(1)] * len(values)
        q1, q2 = model.first(ones, one_loop), model.second(ones, one_loop)
        p2 = model.second(model.values, one_loop)
        test = d - 2 * s2 * q1 + s2 * p2 + s2**2 * q2
        residual = d - s2 * q1
        training = residual - c * s2 * q2

        def distance(shift):
            cross = [(v + s2) / (v + s2 + shift) for v in model.values]
            squared = [g / (v + s2 + shift) for g, v in zip(cross, model.values, strict=True)]
            known = mpmath.fsum(m * g for m, g in zip(model.counts, squared, strict=True))
            return s2 * (p2 + s2 * q2 - 2 * model.first(cross, one_loop) + known)

        other = Exact(values, counts, 2 * n, s2 + mpmath.mpf(0.1))
        pair = p2 + s2 * q2 + other.second(model.values, one_loop)
        pair += s2 * other.second(ones, one_loop)
        zero = [mpmath.mpf(0)] * len(values)
        modelled = [(x.kappa(zero), x) for x in (model, other)]
        (k, a), (k2, b) = modelled
        rows = list(zip(model.values, model.counts, strict=True))
        pair -= 2 * mpmath.fsum(m * (v + s2) / ((k * v + a.z) * (k2 * v + b.z)) for v, m in rows)
        if one_loop:
            for here, there, weight in ((a, b, k2), (b, a, k)):
                g = [(v + s2) / (weight * v + there.z) for v in model.values]
                pair -= 2 * (here.first(g, True) - here.first(g, False))
        result = {
            "residual": residual,
            "training": training,
            "test": test,
            "gap": test - training,
            "gap with penalty": test - residual,
            "alignment": distance(mpmath.mpf(0)),
            "alignment to a floor": distance(mpmath.mpf(0.3)),
            "pair": s2 * pair,
        }
        return {name: float(value) for name, value in result.items()}


@pytest.mark.parametrize("one_loop", [False, True])
@pytest.mark.parametrize(
    ("n", "level", "floor"),
    [(30, 0.99999, 0.0), (12, 0.99999, 1e-4), (1e9, 0.99999, 0.0), (40, 0.6, 0.2), (25, 0.99, 0.0)],
)
def test_losses_keep_twelve_digits(n, level, floor, one_loop):
    values, counts = np.array([3.0, 1.0, 0.2, 1e-3]), np.array([2.0, 5.0, 9.0, 4.0])
    expected = exact_losses(values, counts, n, level, floor, one_loop)
    given = dict(floor=floor, multiplicities=counts, one_loop=one_loop)
    for name, loss in LOSSES.items():
        found = loss(values, n, level, **given)
        # The two signs of this one meet; its parts keep their digits.
        scale = abs(expected["gap"]) if name == "gap with penalty" else 0.0
        assert_allclose(found, expected[name], rtol=1e-12, atol=1e-12 * scale, err_msg=name)


@pytest.mark.parametrize("one_loop", [False, True])
@pytest.mark.parametrize(("n", "z"), [(12, 0.1), (20, 1e-3), (60, 1e-9), (1e6, 2.0)])
def test_traces_are_derivatives_of_the_free_energy(n, z, one_loop):
    values, counts = np.array([3.0, 1.0, 0.2, 1e-3]), np.array([2.0, 5.0, 9.0, 4.0])
    weights = np.array([0.3, 2.0, 0.1, 1.0])
    given = dict(multiplicities=counts, one_loop=one_loop)
    with mpmath.workdps(90):
        model = Exact(values, counts, n, mpmath.mpf(float(z)))
        mp_weights = [mpmath.mpf(float(g)) for g in weights]
        first = float(model.first(mp_weights, one_loop))
        second = float(model.second(mp_weights, one_loop))
        energy = float(model.energy([mpmath.mpf(0)] * 4, one_loop))
    assert_allclose(eq.trace_resolvent(values, n, z, weights=weights, **given), first, rtol=1e-11)
    squared = eq.trace_resolvent_squared(values, n, z, weights=weights, **given)
    assert_allclose(squared, second, rtol=1e-11)
    assert_allclose(eq.log_det(values, n, z, **given), energy, rtol=1e-12)
    elements = eq.resolvent_squared_elements(values, n, z, **given)
    assert elements.shape == (4, 4) and np.array_equal(elements, elements.T)


@pytest.mark.parametrize("one_loop", [False, True])
def test_elements_sum_to_the_traces(one_loop):
    values, weights = np.geomspace(0.01, 3.0, 25), np.linspace(-1.0, 2.0, 25)
    n, z = np.array([10.0, 25.0, 200.0])[:, None], np.array([1e-3, 1.0])
    elements = eq.resolvent_squared_elements(values, n, z, one_loop=one_loop)
    assert elements.shape == (3, 2, 25, 25)
    total = eq.trace_resolvent_squared(values, n, z, one_loop=one_loop)
    assert_allclose(elements.sum(axis=(2, 3)), total, rtol=1e-11)
    weighted = eq.trace_resolvent_squared(values, n, z, weights=weights, one_loop=one_loop)
    assert_allclose(elements.sum(axis=3) @ weights, weighted, rtol=1e-11, atol=1e-11 * total.max())


def exact_kl(values, n, floor):
    with mpmath.workdps(60):
        model = Exact(values, np.ones(len(values)), n, mpmath.mpf(float(floor)))
        k = model.kappa([mpmath.mpf(0)] * len(values))
        total = mpmath.fsum(mpmath.log(k + model.z / v) for v in model.values)
        total += model.n * ((1 - k) ** 2 / k - mpmath.log(k)) - len(values)
        return float(total / 2)


@pytest.mark.parametrize("n", [5, 8, 13, 1e4, 1e12])
@pytest.mark.parametrize("floor", [1e-14, 1e-6, 1e-1])
def test_divergence_keeps_twelve_digits_over_twenty_decades(n, floor):
    values = np.geomspace(1e-20, 1.0, 8)
    assert_allclose(eq.kl(values, n, floor=floor), exact_kl(values, n, floor), rtol=1e-12)


# Values of the ledger, invariances and limits.

LEDGER = """
0 1e-3 446.5 372.1 248.1 14.59 0.3436 0.09767 0.02955 0.002532 2.5e-7
0 1e-2 42.55 35.47 23.69 3.854 0.3186 0.09320 0.02843 0.002467 2.5e-5
0 1e-1 3.082 2.587 1.755 0.6433 0.1735 0.06218 0.02163 0.003915 2.2e-3
1 1e-3 236.9 153.2 82.29 7.065 0.3357 0.09628 0.02920 0.002509 4.6e-6
1 1e-2 22.03 14.00 7.449 1.608 0.2602 0.08176 0.02575 0.002629 4.4e-4
1 1e-1 1.481 0.8597 0.4500 0.1879 0.08457 0.04959 0.03412 0.02667 2.6e-2
2 1e-3 5.915 1.765 0.5980 0.2098 0.1031 0.07047 0.05639 0.04965 4.9e-2
2 1e-2 0.8195 0.5105 0.4486 0.4305 0.4249 0.4229 0.4220 0.4216 0.42
"""


@pytest.mark.parametrize("row", LEDGER.strip().splitlines())
def test_divergences_of_the_ledger(row):
    exponent, floor, *expected = [float(number) for number in row.split()]
    values = spectra.power_law(1000, exponent)
    n = 1000 * np.array([0.1, 0.25, 0.5, 1, 2, 4, 10, 100])
    assert_allclose(eq.kl(values, n, floor=floor) / 1000, expected[:-1], rtol=6e-4)
    assert_allclose(eq.kl_floor(values, floor) / 1000, expected[-1], rtol=0.03)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("one_loop", [False, True])
def test_multiplicities_order_and_broadcasting(name, one_loop):
    values, counts = np.array([2.0, 0.5, 0.1, 0.0]), [3, 1, 7, 2]
    n, given = np.array([[[6.0]], [[30.0]]]), dict(one_loop=one_loop)
    found = LOSSES[name](values, n, ALPHA, floor=FLOOR, multiplicities=counts, **given)
    assert found.shape == (2, 3, 3)
    shuffled = np.random.default_rng(0).permutation(np.repeat(values, counts))
    assert_allclose(found, LOSSES[name](shuffled, n, ALPHA, floor=FLOOR, **given), rtol=1e-11)
    single = LOSSES[name](shuffled, 30, ALPHA[1], floor=0.02, **given)
    assert type(single) is float
    assert_allclose(single, found[1, 1, 1], rtol=1e-12)


def test_many_modes_by_compression():
    values = np.geomspace(1e-4, 2.0, 3000)
    n, split = 1000.0, np.array_split(np.arange(3000), 20)
    for name, loss in LOSSES.items():
        whole = loss(values, n, 0.97, floor=0.01, one_loop=True)
        # Few enough atoms with multiplicities are not compressed; 150 per cell average.
        coarse = [np.exp(np.log(values[part]).mean()) for part in split]
        rough = loss(coarse, n, 0.97, floor=0.01, one_loop=True, multiplicities=[150.0] * 20)
        assert_allclose(whole, rough, rtol=0.02, err_msg=name)
    kappa = eq.solve_kappa(values, n, 0.2)
    direct = np.sum(values / (kappa * values + 0.2))
    assert_allclose(eq.trace_resolvent(values, n, 0.2, weights=values), direct, rtol=1e-12)


def test_scale_of_the_traces():
    values = spectra.power_law(20, 1.4)
    for one_loop in (False, True):
        given = dict(one_loop=one_loop)
        for trace, power in ((eq.trace_resolvent, 1), (eq.trace_resolvent_squared, 2)):
            scaled = trace(64.0 * values, 30, 64.0 * 0.1, **given)
            assert_allclose(scaled * 64.0**power, trace(values, 30, 0.1, **given), rtol=1e-13)
        shift = eq.log_det(64.0 * values, 30, 6.4, **given) - eq.log_det(values, 30, 0.1, **given)
        assert_allclose(shift, 20 * np.log(64.0), rtol=1e-12)
        kl = eq.kl(64.0 * values, 30, floor=0.64, **given)
        assert_allclose(kl, eq.kl(values, 30, floor=0.01, **given), rtol=1e-12)


@pytest.mark.parametrize("one_loop", [False, True])
def test_test_loss_and_alignment_differ_by_the_best_loss(one_loop):
    values, n = spectra.power_law(30, 1.0), np.array([10.0, 30.0, 500.0])[:, None, None]
    given = dict(floor=FLOOR, one_loop=one_loop)
    best = np.sum(values[:, None] / (values[:, None] + (1 - ALPHA) / ALPHA), axis=0)
    difference = eq.test_loss(values, n, ALPHA, **given) - eq.alignment(values, n, ALPHA, **given)
    assert_allclose(difference, np.broadcast_to(best, difference.shape), rtol=1e-11)


def test_gap_is_the_difference_of_the_losses():
    values, n = spectra.power_law(30, 1.0), np.array([10.0, 30.0, 500.0])[:, None, None]
    for one_loop in (False, True):
        given = dict(floor=FLOOR, one_loop=one_loop)
        test = eq.test_loss(values, n, ALPHA, **given)
        gap = test - eq.training_loss(values, n, ALPHA, **given)
        assert_allclose(eq.gap(values, n, ALPHA, **given), gap, rtol=1e-10, atol=1e-12)
        counted = test - eq.residual_loss(values, n, ALPHA, **given)
        found = eq.gap(values, n, ALPHA, penalty=True, **given)
        assert_allclose(found, counted, rtol=1e-10, atol=1e-12)


def test_without_noise_and_floor():
    values = np.array([2.0, 1.0, 0.5, 0.0])
    n = np.array([2, 3, 6])
    for one_loop in (False, True):
        given = dict(one_loop=one_loop)
        assert_allclose(eq.residual_loss(values, n, 1.0, **given)[:2], [2, 3], rtol=1e-13)
        assert_allclose(eq.residual_loss(values, 6, 1.0), 3, rtol=1e-13)
        assert np.array_equal(np.isinf(eq.test_loss(values, n, 1.0, **given)), [True, True, False])
        assert np.array_equal(np.isinf(eq.gap(values, n, 1.0, **given)), [True, True, False])
        assert np.isinf(eq.kl(values[:3], [2, 3], **given)).all()
    assert_allclose(eq.test_loss(values, 6, 1.0), 3, rtol=1e-13)
    assert_allclose(eq.training_loss(values, n, 1.0), [2, 3, 3], rtol=1e-13)
    assert eq.gap(values, 6, 1.0) == 0.0
    assert np.isinf(eq.kl(values, 6, floor=0.1))
    near = 1 - 1e-13
    assert_allclose(eq.residual_loss(values, n, near), [2, 3, 3], rtol=1e-5)


TRACES = {
    "trace": eq.trace_resolvent,
    "squared": eq.trace_resolvent_squared,
    "elements": eq.resolvent_squared_elements,
    "log": eq.log_det,
    "variance": eq.log_det_variance,
}


@pytest.mark.parametrize("name", TRACES)
def test_traces_name_bad_input(name):
    good = [1.0, 2.0], 3, 1.0
    for position, bad, argument in [
        (0, [-1.0, 1.0], "eigenvalues"),
        (0, 1.0, "eigenvalues"),
        (1, 0.0, "n_samples"),
        (2, 0.0, "z"),
        (2, np.nan, "z"),
    ]:
        arguments = [*good[:position], bad, *good[position + 1 :]]
        with pytest.raises(ValueError, match=argument):
            TRACES[name](*arguments)
    with pytest.raises(ValueError, match="multiplicities"):
        TRACES[name](*good, multiplicities=[1.0])
    if name in ("trace", "squared"):
        with pytest.raises(ValueError, match="weights"):
            TRACES[name](*good, weights=[1.0])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_name_bad_input(name):
    loss = LOSSES[name]
    for arguments, keywords, argument in [
        (([-1.0], 3, 0.5), {}, "eigenvalues"),
        (([1.0], 0, 0.5), {}, "n_samples"),
        (([1.0], 3, 0.0), {}, "alpha_bar"),
        (([1.0], 3, 1.1), {}, "alpha_bar"),
        (([1.0], 3, 0.5), {"floor": -1.0}, "floor"),
        (([1.0], 3, 0.5), {"multiplicities": [0.0]}, "multiplicities"),
        (([1.0], [3, 4], [0.5] * 3), {}, "n_samples"),
    ]:
        with pytest.raises(ValueError, match=argument):
            loss(*arguments, **keywords)


def test_the_other_arguments_are_named():
    with pytest.raises(ValueError, match="reference_floor"):
        eq.alignment([1.0], 3, 0.5, reference_floor=-1.0)
    with pytest.raises(ValueError, match="n_samples_other"):
        eq.alignment_pair([1.0], 3, 0.5, 0.5)
    with pytest.raises(ValueError, match="floor_other"):
        eq.alignment_pair([1.0], 3, 3, 0.5, floor_other=-1.0)
    for arguments, keywords, name in [
        (([-1.0], 3), {}, "eigenvalues"),
        (([1.0], 0), {}, "n_samples"),
        (([1.0], 3), {"floor": -0.1}, "floor"),
    ]:
        with pytest.raises(ValueError, match=name):
            eq.kl(*arguments, **keywords)


# Simulation: the definitions, evaluated on drawn training sets.


def draw(n, rng, count, values=SPECTRUM):
    data = rng.standard_normal((count, n, values.size)) * np.sqrt(values)
    return np.swapaxes(data, 1, 2) @ data / n


def controlled(values, covariance, n, spectrum=SPECTRUM):
    """Mean and standard error after regression on moments whose averages are known."""
    trace = np.trace(covariance, axis1=1, axis2=2)
    controls = [
        trace - spectrum.sum(),
        np.einsum("kii,i->k", covariance, spectrum) - np.sum(spectrum**2),
        np.einsum("kij,kij->k", covariance, covariance)
        - (np.sum(spectrum**2) * (1 + 1 / n) + spectrum.sum() ** 2 / n),
        trace**2 - spectrum.sum() ** 2 - 2 * np.sum(spectrum**2) / n,
    ]
    design = np.stack([np.ones_like(trace), *controls], axis=1)
    fit, _, _, _ = np.linalg.lstsq(design, values, rcond=None)
    rest = values - design @ fit
    inverse = np.linalg.inv(design.T @ design)[0, 0]
    return fit[0], np.sqrt(inverse * rest.T @ rest / (len(values) - design.shape[1]))


def fitted(covariance, level, floor):
    d = covariance.shape[-1]
    matrix = level * covariance + (1 - level + level * floor) * np.eye(d)
    return np.sqrt(1 - level) * np.linalg.inv(matrix)


def simulated_losses(covariance, other, level, floor, values=SPECTRUM):
    """Every loss from its definition with weight matrices."""
    d, population = values.size, np.diag(values)
    w, w_other = fitted(covariance, level, floor), fitted(other, level, 0.1)

    def quadratic(matrix, middle):
        return np.einsum("kij,kjl,kil->k", matrix, np.broadcast_to(middle, matrix.shape), matrix)

    clean = np.sum((np.eye(d) - np.sqrt(1 - level) * w) ** 2, axis=(1, 2))
    size = np.sum(w**2, axis=(1, 2))
    training = clean + level * quadratic(w, covariance)
    test = clean + level * quadratic(w, population)
    noised = level * population + (1 - level) * np.eye(d)
    best, shrunk = fitted(population, level, 0.0), fitted(population, level, 0.3)
    return {
        "residual": training + level * floor * size,
        "training": training,
        "test": test,
        "gap": test - training,
        "gap with penalty": test - training - level * floor * size,
        "alignment": quadratic(w - best, noised),
        "alignment to a floor": quadratic(w - shrunk, noised),
        "pair": quadratic(w - w_other, noised),
    }


@pytest.mark.parametrize("n", [18, 36, 90])
def test_traces_and_divergence_against_simulation(n):
    rng, z = np.random.default_rng(100 + n), 0.1
    covariance = draw(n, rng, 4000)
    shifted = covariance + z * np.eye(36)
    inverse = np.linalg.inv(shifted)
    squared = np.einsum("kij,kij->ki", inverse, inverse)
    weights = rng.normal(size=36)
    log_det = np.linalg.slogdet(shifted)[1]
    trace = np.einsum("kii->ki", inverse)
    kl = 0.5 * (trace @ SPECTRUM - 36 + log_det - np.sum(np.log(SPECTRUM)))
    diagonal = np.einsum("kii->ki", shifted)
    reverse = 0.5 * (diagonal @ (1 / SPECTRUM) - 36 - log_det + np.sum(np.log(SPECTRUM)))
    given = dict(one_loop=True)
    cases = [
        (trace.sum(axis=1), eq.trace_resolvent(SPECTRUM, n, z, **given)),
        (trace @ weights, eq.trace_resolvent(SPECTRUM, n, z, weights=weights, **given)),
        (squared.sum(axis=1), eq.trace_resolvent_squared(SPECTRUM, n, z, **given)),
        (squared @ weights, eq.trace_resolvent_squared(SPECTRUM, n, z, weights=weights, **given)),
        (log_det, eq.log_det(SPECTRUM, n, z, **given)),
        (kl, eq.kl(SPECTRUM, n, floor=z, **given)),
        (reverse, eq.kl(SPECTRUM, n, floor=z, reverse=True, **given)),
    ]
    for i, (values, theory) in enumerate(cases):
        mean, error = controlled(values, covariance, n)
        assert abs(theory - mean) < 4 * error, i
    elements = eq.resolvent_squared_elements(SPECTRUM, n, z, one_loop=True)
    for row, column in [(0, 0), (0, 1), (5, 20), (35, 35)]:
        mean, error = controlled(inverse[:, row, column] ** 2, covariance, n)
        assert abs(elements[row, column] - mean) < 4 * error
    variance = log_det.var(ddof=1)
    spread = 4 * variance * np.sqrt(2 / 4000)
    assert abs(eq.log_det_variance(SPECTRUM, n, z) - variance) < spread


def test_finite_size_correction_explains_what_the_leading_order_misses():
    rng, n = np.random.default_rng(3), 40
    covariance = draw(n, rng, 6000)
    values = np.einsum("kij,kij->k", *[np.linalg.inv(covariance + 0.3 * np.eye(36))] * 2)
    mean, error = controlled(values, covariance, n)
    leading = eq.trace_resolvent_squared(SPECTRUM, n, 0.3)
    corrected = eq.trace_resolvent_squared(SPECTRUM, n, 0.3, one_loop=True)
    assert abs(leading - mean) > 15 * error > 4 * abs(corrected - mean)


def test_divergence_of_very_many_samples_keeps_its_digits():
    n = np.array([1e8, 3e12, 7e12])
    assert_allclose(eq.kl([1.0, 2.0, 3.0], n, one_loop=True), eq.kl_wishart(3, n), rtol=1e-7)
    leading = eq.kl([1.0, 2.0, 3.0], n)
    assert_allclose(leading, 0.75 * eq.kl_wishart(3, n), rtol=1e-7)


def centred(n, rng, count):
    """Sample covariances about the sample mean, divided by N, and the errors of that mean."""
    data = rng.standard_normal((count, n, 36)) * np.sqrt(SPECTRUM)
    mean = data.mean(axis=1)
    data -= mean[:, None]
    return np.swapaxes(data, 1, 2) @ data / n, mean


def regressed(values, covariance, n):
    """As `controlled`; the covariance times N / (N - 1) is one of N - 1 points."""
    return controlled(values, covariance * n / (n - 1), n - 1)


@pytest.mark.parametrize("n", [19, 37, 90])
def test_traces_and_divergences_of_centred_data_against_simulation(n):
    rng, z = np.random.default_rng(300 + n), 0.1
    covariance, mean = centred(n, rng, 4000)
    shifted = covariance + z * np.eye(36)
    inverse = np.linalg.inv(shifted)
    weights = rng.normal(size=36)
    trace = np.einsum("kii->ki", inverse)
    squared = np.einsum("kij,kij->ki", inverse, inverse)
    log_det = np.linalg.slogdet(shifted)[1]
    distance = np.einsum("ki,kij,kj->k", mean, inverse, mean)
    logs = log_det - np.sum(np.log(SPECTRUM))
    kl = 0.5 * (trace @ SPECTRUM + distance - 36 + logs)
    diagonal = np.einsum("kii->ki", shifted) + mean**2
    reverse = 0.5 * (diagonal @ (1 / SPECTRUM) - 36 - logs)
    given = dict(one_loop=True, estimated_mean=True)
    cases = [
        (trace.sum(axis=1), eq.trace_resolvent(SPECTRUM, n, z, **given)),
        (trace @ weights, eq.trace_resolvent(SPECTRUM, n, z, weights=weights, **given)),
        (squared.sum(axis=1), eq.trace_resolvent_squared(SPECTRUM, n, z, **given)),
        (squared @ weights, eq.trace_resolvent_squared(SPECTRUM, n, z, weights=weights, **given)),
        (log_det, eq.log_det(SPECTRUM, n, z, **given)),
        (kl, eq.kl(SPECTRUM, n, floor=z, **given)),
        (reverse, eq.kl(SPECTRUM, n, floor=z, reverse=True, **given)),
    ]
    for i, (values, theory) in enumerate(cases):
        average, error = regressed(values, covariance, n)
        assert abs(theory - average) < 4 * error, i
    elements = eq.resolvent_squared_elements(SPECTRUM, n, z, **given)
    for row, column in [(0, 0), (0, 1), (5, 20), (35, 35)]:
        average, error = regressed(inverse[:, row, column] ** 2, covariance, n)
        assert abs(elements[row, column] - average) < 4 * error
    variance = log_det.var(ddof=1)
    found = eq.log_det_variance(SPECTRUM, n, z, estimated_mean=True)
    assert abs(found - variance) < 4 * variance * np.sqrt(2 / 4000)


@pytest.mark.parametrize(("level", "floor"), [(0.9, 0.0), (0.98, 0.1), (0.3, 0.0)])
@pytest.mark.parametrize("n", [19, 37, 90])
def test_losses_of_centred_data_against_simulation(n, level, floor):
    rng = np.random.default_rng(500 + n)
    (covariance, mean), (other, other_mean) = centred(n, rng, 3000), centred(2 * n, rng, 3000)
    shift = level * np.sum((fitted(covariance, level, floor) @ mean[..., None]) ** 2, axis=(1, 2))
    weights = fitted(other, level, 0.1)
    other_shift = level * np.sum((weights @ other_mean[..., None]) ** 2, axis=(1, 2))
    added = {"residual": 0.0, "training": 0.0, "pair": shift + other_shift}
    for name, values in simulated_losses(covariance, other, level, floor).items():
        average, error = regressed(values + added.get(name, shift), covariance, n)
        given = dict(floor=floor, one_loop=True)
        theory = LOSSES[name](SPECTRUM, n, level, estimated_mean=True, **given)
        assert abs(theory - average) < 4 * error, name
        # That of a known mean is another number.
        assert abs(LOSSES[name](SPECTRUM, n, level, **given) - average) > 5 * error, name


@pytest.mark.parametrize(("level", "floor"), [(0.9, 0.0), (0.98, 0.1), (0.3, 0.0)])
@pytest.mark.parametrize("n", [18, 36, 90])
def test_losses_against_simulation(n, level, floor):
    rng = np.random.default_rng(n)
    covariance, other = draw(n, rng, 3000), draw(2 * n, rng, 3000)
    for name, values in simulated_losses(covariance, other, level, floor).items():
        mean, error = controlled(values, covariance, n)
        theory = LOSSES[name](SPECTRUM, n, level, floor=floor, one_loop=True)
        assert abs(theory - mean) < 4 * error, name
        # The leading order alone misses the finite-size term and no more.
        leading = LOSSES[name](SPECTRUM, n, level, floor=floor)
        assert 10 * error < abs(leading - mean) < 0.1 * abs(mean), name
