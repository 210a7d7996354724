"""Random-energy approximation of the memorisation criterion, against fits and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff import _memorisation_theory as theory
from lindiff import memorisation, multistep
from lindiff.memorisation import gap_probability, simulate_gap

RATIO = 0.9817


def rng(seed=0):
    return np.random.default_rng(seed)


def energies(points, mean, cov, width):
    shifted = cov + width * np.eye(len(mean))
    solved = np.linalg.solve(shifted, (points - mean).T)
    return 0.5 * np.einsum("ij,ji->i", points - mean, solved), np.linalg.slogdet(shifted)[1]


@pytest.mark.parametrize(
    ("d", "n", "noise"), [(12, 30, "path"), (12, 7, "path"), (12, 30, "averaged")]
)
def test_cumulants_of_one_point_are_those_of_trained_models(d, n, noise):
    grid = [RATIO] if noise == "path" else [0.3, RATIO]
    draw, seen, new = rng(1), [], []
    for _ in range(800):
        points = draw.standard_normal((n, d))
        mean, cov = multistep.train_steps(points, grid, draw, noise=noise).law()
        for rows, those in ((seen, points), (new, draw.standard_normal((n, d)))):
            q, log_det = energies(those, mean, cov, n ** (-2.0 / d))
            rows.append([-0.5 * log_det - q.mean(), np.mean((q - q.mean()) ** 2) * n / (n - 1)])
    draw, rows = rng(2), []
    for _ in range(400):
        model = (
            theory._map(RATIO, d, n, draw)
            if noise == "path"
            else theory._averaged(np.array(grid), d, n, draw)
        )
        fresh = theory._fresh(model[0], model[2], n, n)
        rows.append((theory._seen(*model, n)[:2], fresh[:2]))
    expected = np.mean(rows, axis=0)
    for measured, row in ((seen, expected[0]), (new, expected[1])):
        close = np.abs(np.mean(measured, axis=0) / row - 1)
        assert np.all(close < [0.02, 0.12]), close
    # The difference between the two kinds of points is what the criterion sees.
    gap, predicted = np.mean(seen, axis=0) - np.mean(new, axis=0), expected[0] - expected[1]
    assert np.all(np.abs(gap / predicted - 1) < 0.15), gap / predicted
    assert gap[0] > 0.5


def test_third_cumulant_of_a_training_point():
    d, n, draw = 30, 90, rng(3)
    model = theory._map(RATIO, d, n, draw)
    spectrum, image, rest = model
    e = draw.standard_normal((60_000, n - 1))
    e = np.sqrt(1 - 1 / n) * e[:, :d] / np.linalg.norm(e, axis=1)[:, None]
    left = np.sqrt(rest * (1 - 1 / n - np.sum(e**2, axis=1)))[:, None]
    points = e @ image.T + left * draw.standard_normal((len(e), d))
    q, _ = energies(points, np.zeros(d), np.diag(spectrum), n ** (-2.0 / d))
    _, variance, third = theory._seen(*model, n)
    assert_allclose(q.var(), variance, rtol=0.04)
    assert_allclose(np.mean((q - q.mean()) ** 3), third, rtol=0.15)


def test_characteristic_function_of_a_mean_against_direct_draws():
    law, size, draw = (-3.0, 2.0, 1.2), 40, rng(4)
    skew = law[2] / law[1] ** 1.5
    q = (draw.gamma(4 / skew**2, skew / 2, (50_000, size)) - 2 / skew) * np.sqrt(law[1])
    mean = np.exp(law[0] - q).mean(axis=1)
    times = np.log([0.5, 5.0, 20.0])
    direct = np.exp(1j * np.exp(times)[:, None] * mean).mean(axis=1)
    assert_allclose(theory._transform(law, size, times), direct, atol=0.02)


def direct_draws(law, size, draw, count=20_000):
    skew = law[2] / law[1] ** 1.5
    q = (draw.gamma(4 / skew**2, skew / 2, (count, size)) - 2 / skew) * np.sqrt(law[1])
    return np.exp(law[0] - q).mean(axis=1)


@pytest.mark.parametrize("placebo", [False, True])
@pytest.mark.parametrize(("d", "n", "reference"), [(8, 20, 500), (10, 30, 1000), (10, 12, 300)])
def test_probability_is_that_of_drawn_energies_and_half_the_difference_of_the_pairs(
    d, n, reference, placebo
):
    value = gap_probability([RATIO], d, n, rng(3), reference=reference, placebo=placebo)
    draw, rows = rng(3), []
    for _ in range(24):
        model = theory._map(RATIO, d, n, draw)
        near = theory._fresh(model[0], model[2], n, n) if placebo else theory._seen(*model, n)
        rows.append((near, theory._fresh(model[0], model[2], n, reference)))
    rows = np.array(rows)
    near, far = rows.mean(axis=0)
    moved = np.std(rows[:, 0, 0] - rows[:, 1, 0], ddof=1) * draw.standard_normal(20_000)
    first = direct_draws(near, n, draw) * np.exp(moved)
    second = direct_draws(far, reference, draw)
    # Pairs of a kernel density of bandwidth N^(-1/d), in units of (2 pi)^(-d/2).
    train, truth = (
        (1 - 1 / size) * (1 + size ** (-2 / d)) ** (-d / 2) * 2 ** (-d / 2)
        for size in (n, reference)
    )
    half, whole, none = (
        np.mean(first < second + share * (train - truth)) for share in (0.5, 1.0, 0.0)
    )
    assert abs(value - half) < 0.03
    if half > 0.1:
        assert abs(value - whole) > 0.06 < abs(value - none)


@pytest.mark.parametrize("n", [25, 80])
def test_a_fair_placebo_is_undecided(n):
    value = gap_probability([RATIO], 50, n, rng(), reference=n, placebo=True)
    assert_allclose(value, 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("d", "n", "options"),
    [
        (50, 100, {"reference": 100}),
        (50, 150, {"reference": 150}),
        (50, 250, {"reference": 250}),
        (50, 250, {"reference": 1000}),
        (50, 100, {"reference": 1000, "placebo": True}),
    ],
)
def test_probability_agrees_with_trained_models(d, n, options):
    study = simulate_gap([RATIO], d, n, 250, rng(5), **options)
    value = gap_probability([RATIO], d, n, rng(6), **options, n_maps=48)
    assert abs(value - study.probability) < 3 * study.standard_error + 0.02
    # The wrong kind of points, training or fresh, is far off.
    options["placebo"] = not options.get("placebo", False)
    wrong = gap_probability([RATIO], d, n, rng(6), **options, n_maps=48)
    assert abs(wrong - study.probability) > 0.15


def test_averaged_noise_agrees_with_trained_models():
    grid = multistep.best_grid(3, 1.0)
    study = simulate_gap(grid, 50, 150, 250, rng(5), reference=150, noise="averaged")
    value = gap_probability(grid, 50, 150, rng(6), reference=150, noise="averaged")
    assert abs(value - study.probability) < 3 * study.standard_error + 0.02


def test_exact_density_as_reference_never_remembers():
    assert gap_probability([RATIO], 50, 30, rng()) > 0.99
    exact = memorisation.gaussian_reference(np.zeros(50), 1.0)
    assert simulate_gap([RATIO], 50, 30, 30, rng(), reference=exact).probability == 1.0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"noise": "fresh"}, "noise"),
        ({"grid": [0.5, 1.0]}, "averaged"),
        ({"noise": "averaged", "n_samples": 20}, "n_samples"),
        ({"n_samples": 2}, "`n_samples` must be at least 3"),
        ({"dimension": 7}, "`dimension` must be at least 8"),
        ({"dimension": 8, "n_samples": 8, "reference": 10**9}, "`reference` is too large"),
        ({"n_maps": 1}, "n_maps"),
        ({"reference": 0}, "reference"),
        ({"grid": [-1.0]}, "grid"),
    ],
)
def test_bad_input(change, name):
    arguments = {"grid": [RATIO], "dimension": 20, "n_samples": 40, "rng": rng(), **change}
    with pytest.raises(ValueError, match=name):
        gap_probability(**arguments)


@pytest.mark.parametrize(("d", "n", "placebo"), [(20, 10, 1.0), (100, 50, 1.0), (100, 110, 0.0)])
def test_below_the_transition_nothing_passes(d, n, placebo):
    assert gap_probability([RATIO], d, n, rng(), reference=10_000) < 0.03
    # Near n = d the pairs decide, also for a placebo; 60 fits with one reference give 0.02.
    value = gap_probability([RATIO], d, n, rng(), reference=10_000, placebo=True)
    assert abs(value - placebo) < 0.05
