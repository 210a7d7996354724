"""Closed forms in continuous time, and how the discrete samplers approach them."""

import mpmath
import numpy as np
import pytest
import sympy
from scipy.integrate import quad, solve_ivp

from lindiff.denoisers import AffineDenoiser, EmpiricalDenoiser
from lindiff.sampling import (
    affine_moments,
    continuous_moments,
    ddim_mean_factor,
    ddim_variance,
    final_bias,
    flow_map,
    mode_moments,
    mode_trajectory,
    sample,
)
from lindiff.schedules import NoiseSchedule, karras, linear_beta

EIGENVALUES = np.array([0.0, 0.3, 1.0, 8.0])
RATIOS = [0.0, 0.25, 1.0, 2.5]


def _beta(t):
    return 0.1 + 9.9 * t


def _alpha_bar(t):
    return np.exp(-0.1 * t - 4.95 * t**2)


def _drift(t, lam, ratio):
    """A and h of the sampling equation at time t of the noising process."""
    weight = 0.5 * (1 + ratio) * _beta(t) / (1 + _alpha_bar(t) * (lam - 1))
    return 0.5 * _beta(t) - weight, weight * np.sqrt(_alpha_bar(t))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("start", ["normal", "matched"])
def test_continuous_moments_solve_the_ordinary_differential_equations(ratio, start):
    end, times = _alpha_bar(1.0), np.linspace(0, 1, 6)

    def right_hand_side(s, y):
        rate, push = _drift(1 - s, EIGENVALUES, ratio)
        return np.concatenate(
            [rate * y[:4] + push, 2 * rate * y[4:] + ratio * _beta(1 - s) * np.ones(4)]
        )

    first = np.repeat([0.0, 1.0], 4)
    if start == "matched":
        first = np.concatenate([np.full(4, np.sqrt(end)), 1 + end * (EIGENVALUES - 1)])
    # The rate is singular where the data do not vary and the noise ends.
    stop = 0.999
    run = solve_ivp(
        right_hand_side, (0, stop), first, "DOP853", stop * times, rtol=1e-12, atol=1e-13
    )
    level = _alpha_bar(1 - stop * times)
    mean, variance = continuous_moments(EIGENVALUES, level, end, ratio=ratio, start=start)
    np.testing.assert_allclose(mean, run.y[:4].T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(variance, run.y[4:].T, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("ratio", RATIOS)
def test_continuous_moments_equal_the_integrals(ratio):
    """The integrals over the noise and over the push, done by quadrature."""
    end, lam = _alpha_bar(1.0), 3.0
    for s in (0.3, 1.0):

        def grown(begin, stop=s):
            return np.exp(
                quad(lambda u: _drift(1 - u, lam, ratio)[0], begin, stop, epsabs=1e-13)[0]
            )

        push = quad(lambda u: grown(u) * _drift(1 - u, lam, ratio)[1], 0, s, epsabs=1e-12)[0]
        noise = quad(lambda u: grown(u) ** 2 * ratio * _beta(1 - u), 0, s, epsabs=1e-12)[0]
        mean, variance = continuous_moments([lam], _alpha_bar(1 - s), end, ratio=ratio)
        np.testing.assert_allclose(mean, push, rtol=1e-10)
        np.testing.assert_allclose(variance, grown(0.0) ** 2 + noise, rtol=1e-10)


def test_continuous_moments_symbolically():
    """In ln(alpha_bar), v' = (1 - (1 + r) / D) v + r and m' = A m + h for the published forms."""
    a, lam, end, r = sympy.symbols("a lambda a_T r", positive=True)
    big, big_end = 1 + a * (lam - 1), 1 + end * (lam - 1)
    q = end * big / (a * big_end)
    v = big / big_end * (q**r + big_end * (1 - q**r))
    rate = sympy.Rational(1, 2) - (1 + r) / (2 * big)
    assert sympy.simplify(a * sympy.diff(v, a) - 2 * rate * v - r) == 0
    m = sympy.sqrt(a) * (1 - q ** ((1 + r) / 2))
    push = (1 + r) / (2 * big) * sympy.sqrt(a)
    assert sympy.simplify(a * sympy.diff(m, a) - rate * m - push) == 0
    ledger = big - end**2 * (lam - 1) * big**2 / (a * big_end**2)
    assert sympy.simplify(v.subs(r, 1) - ledger) == 0
    assert sympy.simplify(v.subs(r, 0) - big / big_end) == 0
    values = {a: 0.7, lam: 5.0, end: 0.2, r: 0.4}
    got = continuous_moments([5.0], 0.7, 0.2, ratio=0.4)
    np.testing.assert_allclose(np.ravel(got), [float(f.subs(values)) for f in (m, v)], rtol=1e-14)


def test_end_of_sampling_is_the_published_result():
    lam, end = np.array([0.0, 0.2, 1.0, 30.0, 1e6]), 0.006271
    whole = 1 + end * (lam - 1)
    mean, variance = continuous_moments(lam, 1.0, end)
    np.testing.assert_allclose(variance, ddim_variance(lam, end), rtol=1e-14)
    np.testing.assert_allclose(mean, ddim_mean_factor(lam, end), rtol=1e-14)
    mean, variance = continuous_moments(lam, 1.0, end, ratio=1.0)
    np.testing.assert_allclose(mean, 1 - end * lam / whole, rtol=1e-9)
    want = lam * (1 - end**2 * lam * (lam - 1) / whole**2)
    np.testing.assert_allclose(variance, want, rtol=1e-7)


@pytest.mark.parametrize("ratio", RATIOS)
def test_continuous_moments_keep_their_digits(ratio):
    lam, levels = [1e-14, 0.7, 1e12], [0.3, 0.300001, 0.9, 1.0]
    mean, variance = continuous_moments(lam, levels, 0.3, ratio=ratio)
    with mpmath.workdps(50):
        end, r = mpmath.mpf(0.3), mpmath.mpf(ratio)
        for i, j in np.ndindex(4, 3):
            a, value = mpmath.mpf(levels[i]), mpmath.mpf(lam[j])
            big, big_end = 1 + a * (value - 1), 1 + end * (value - 1)
            q = end * big / (a * big_end)
            m = mpmath.sqrt(a) * (1 - q ** ((1 + r) / 2))
            v = big / big_end * (q**r + big_end * (1 - q**r))
            np.testing.assert_allclose(mean[i, j], float(m), rtol=1e-13)
            np.testing.assert_allclose(variance[i, j], float(v), rtol=1e-13)


def _arc(n_steps, end):
    """Levels with equal steps of the angle whose squared cosine is alpha_bar."""
    angle = np.arccos(np.sqrt(end)) * np.arange(1, n_steps + 1) / n_steps
    return NoiseSchedule(np.cos(angle), np.sin(angle))


@pytest.mark.parametrize(
    ("method", "ratio", "order"),
    [
        ({"solver": "euler"}, 0.0, 1),
        ({"eta": 0.5}, 0.25, 1),
        ({"solver": "ddpm"}, 1.0, 1),
        ({"solver": "ddpm-beta"}, 1.0, 1),
        ({"solver": "ddpm-beta", "final_noise": True}, 1.0, 1),
        ({"solver": "heun"}, 0.0, 2),
    ],
)
@pytest.mark.parametrize("start", ["normal", "matched"])
def test_order_of_convergence(method, ratio, order, start):
    lam, end = np.array([0.2, 1.5, 5.0]), 0.05
    counts = np.array([200, 400, 800, 1600])
    laws = [mode_moments(lam, _arc(n, end), start=start, **method) for n in counts]
    limits = continuous_moments(lam, 1.0, end, ratio=ratio, start=start)
    exact_mean = start == "matched" or ratio == 1
    for k in [1] if exact_mean else [0, 1]:
        error = np.abs(np.array([law[k] for law in laws]) - limits[k]).max(axis=1)
        slope = np.polyfit(np.log(counts), np.log(error), 1)[0]
        assert abs(slope + order) < 0.06
        assert error[-1] < 0.02 / counts[-1] ** (order - 1)


@pytest.mark.parametrize("method", [{"solver": "ddpm"}, {"solver": "ddpm-beta"}])
def test_mean_of_ddpm_is_that_of_continuous_time_at_any_step_number(method):
    """The factors (lambda + s^2) / (lambda + t^2) of the steps telescope."""
    for schedule in (_arc(1, 0.05), _arc(7, 0.05), linear_beta(1000)):
        means, _ = mode_trajectory(EIGENVALUES, schedule, **method)
        level = np.append(1.0, schedule.alpha_bar)
        want = continuous_moments(EIGENVALUES, level, level[-1], ratio=1.0)[0]
        np.testing.assert_allclose(means, want, rtol=1e-10, atol=1e-14)


def test_trajectory_approaches_the_continuous_one():
    lam, schedule = np.array([0.1, 4.0]), _arc(2000, 0.05)
    for method, ratio in (({"solver": "heun"}, 0.0), ({"solver": "ddpm"}, 1.0)):
        got = mode_trajectory(lam, schedule, **method)
        level = np.append(1.0, schedule.alpha_bar)
        want = continuous_moments(lam, level, level[-1], ratio=ratio)
        np.testing.assert_allclose(got, want, atol=1e-2 if ratio else 1e-5)


def test_published_deviations_at_large_eigenvalues():
    """The slides' schedule loses the leading modes: the ledger's numbers."""
    end = linear_beta(1000, 1.099e-4, 1e-2).alpha_bar[-1]
    lam = np.array([100.0, 300.0])
    np.testing.assert_allclose(continuous_moments(lam, 1, end)[1] / lam, [0.617, 0.348], atol=6e-4)
    ddpm = continuous_moments(lam, 1, end, ratio=1)[1] / lam
    np.testing.assert_allclose(ddpm, [0.852, 0.573], atol=1.5e-3)


@pytest.mark.parametrize("ratio", RATIOS)
def test_bias_depends_on_signal_to_noise_only(ratio):
    x = np.array([1e-9, 0.01, 1.0, 50.0, 1e6])
    bias = final_bias(x, ratio=ratio)
    gaps = []
    for end in (1e-4, 1e-5):
        mean, variance = continuous_moments(x / end, 1.0, end, ratio=ratio)
        gaps.append([np.abs(mean - bias[0]).max(), np.abs(variance / (x / end) - bias[1]).max()])
    assert np.all(np.array(gaps[0]) < 3e-4)
    np.testing.assert_allclose(np.divide(*gaps), 10, rtol=0.01)
    with mpmath.workdps(40):
        for i, value in enumerate(x):
            q = mpmath.mpf(value) / (1 + mpmath.mpf(value))
            want = [float(1 - q ** (p * (1 + mpmath.mpf(ratio)))) for p in (0.5, 1)]
            np.testing.assert_allclose([bias[0][i], bias[1][i]], want, rtol=1e-14)
    assert final_bias(0.0, ratio=ratio) == (1.0, 1.0)


def _denoiser():
    mean, cov = np.array([1.0, -2.0, 0.5]), np.diag([2.0, 0.5, 0.0])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    return AffineDenoiser.from_moments(mean, turn @ cov @ turn.T)


def test_flow_map_is_the_probability_flow():
    denoiser, x = _denoiser(), np.array([4.0, 1.0, -3.0])
    run = solve_ivp(
        lambda sigma, y: (y - denoiser.denoise(y, sigma)) / sigma, (3.0, 0.05), x, "DOP853",
        rtol=1e-12, atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(flow_map(denoiser, x, 3.0, 0.05), run.y[:, -1], rtol=1e-9)
    twice = flow_map(denoiser, flow_map(denoiser, x, 3.0, 0.7), 0.7, 0.05)
    np.testing.assert_allclose(twice, flow_map(denoiser, x, 3.0, 0.05), rtol=1e-13)
    back = flow_map(denoiser, twice, 0.05, 3.0)
    np.testing.assert_allclose(back, x, rtol=1e-12)


def test_flow_map_is_the_limit_of_heun():
    denoiser, schedule = _denoiser(), karras(200, 1e-3, 20.0)
    u = np.random.default_rng(1).standard_normal((4, 3))
    drawn = sample(denoiser, schedule, 4, np.random.default_rng(0), solver="heun", start=u)
    x = u / np.sqrt(schedule.alpha_bar[-1])
    np.testing.assert_allclose(drawn, flow_map(denoiser, x, 20.0, 0.0), atol=3e-3)
    # Teleportation: the closed form for the first steps, Heun for the rest.
    cut = schedule.subset(schedule.sigma <= 5.0)
    there = flow_map(denoiser, x, 20.0, cut.sigma[-1]) * np.sqrt(cut.alpha_bar[-1])
    rest = sample(denoiser, cut, 4, np.random.default_rng(0), solver="heun", start=there)
    np.testing.assert_allclose(rest, drawn, atol=3e-3)


def test_heun_errors_on_the_published_spectrum():
    """Li, Dai and Qu's ten-point grid: Euler shrinks the standard deviation, Heun widens it."""
    lam = np.arange(1.0, 65.0) ** -1.5
    grid = karras(10)
    limit = np.sqrt(lam * 80.0**2 / (80.0**2 + lam))
    start = grid.sigma[-1] ** 2 * grid.alpha_bar[-1]
    euler, heun = (
        np.sqrt(mode_moments(lam, grid, solver=name)[1] * start) / limit
        for name in ("euler", "heun")
    )
    np.testing.assert_allclose(euler[[0, -1]], [0.75, 0.64], atol=0.006)
    assert heun.min() > 1.17 and heun.max() < 1.49


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: continuous_moments([-1.0], 1.0, 0.5), ValueError, "eigenvalues"),
        (lambda: continuous_moments([1.0], 0.4, 0.5), ValueError, "alpha_bar"),
        (lambda: continuous_moments([1.0], 1.5, 0.5), ValueError, "alpha_bar"),
        (lambda: continuous_moments([1.0], 1.0, 1.0), ValueError, "alpha_bar_end"),
        (lambda: continuous_moments([1.0], 1.0, 0.5, ratio=-1.0), ValueError, "ratio"),
        (lambda: continuous_moments([1.0], 1.0, 0.5, ratio=[1.0]), ValueError, "ratio"),
        (lambda: continuous_moments([1.0], 1.0, 0.5, start="zero"), ValueError, "start"),
        (lambda: final_bias(-1.0), ValueError, "signal_to_noise"),
        (lambda: final_bias(1.0, ratio=np.nan), ValueError, "ratio"),
        (lambda: flow_map(EmpiricalDenoiser([[0.0]]), [0.0], 1.0, 0.5), TypeError, "denoiser"),
        (lambda: flow_map(_denoiser(), [0.0], 1.0, 0.5), ValueError, "x"),
        (
            lambda: flow_map(AffineDenoiser([0.0], [1.0], [[1.0]], ridge=abs), [0.0], 1.0, 0.5),
            ValueError,
            "denoiser",
        ),
        (lambda: flow_map(_denoiser(), np.zeros(3), 0.0, 0.5), ValueError, "sigma"),
        (lambda: flow_map(_denoiser(), np.zeros(3), 1.0, -0.5), ValueError, "sigma_next"),
        (
            lambda: flow_map(AffineDenoiser([0.0], [1.0], [[1.0]], ridge=0.1), [0.0], 1.0, 0.5),
            ValueError,
            "denoiser",
        ),
    ],
)
def test_bad_arguments(call, error, word):
    with pytest.raises(error, match=f"`{word}`"):
        call()


def test_sampling_begins_at_the_law_of_the_start():
    mean, variance = continuous_moments([0.0, 3.0], 0.5, 0.5, ratio=0.7)
    np.testing.assert_allclose([mean, variance], [[0.0, 0.0], [1.0, 1.0]], atol=1e-15)


def test_law_with_a_floor_is_the_law_of_shifted_variances():
    schedule = linear_beta(100, 1e-3, 0.1)
    floor = AffineDenoiser([2.0, 1.0], [3.0], [[1.0], [0.0]], floor=0.4)
    law = affine_moments(floor, schedule, solver="heun")
    factor, variance = mode_moments([3.4, 0.4], schedule, solver="heun")
    np.testing.assert_allclose(law.mean, factor * [2.0, 1.0], rtol=1e-14)
    np.testing.assert_allclose([law.variances[0], law.null_variance], variance, rtol=1e-14)
