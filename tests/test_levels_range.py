"""Levels, spectra, samplers and chains at the edges of float64, against many digits."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lindiff import denoisers, memorisation, multistep, sampling, schedules, spectra
from lindiff.denoisers import AffineDenoiser, EmpiricalDenoiser

pytestmark = pytest.mark.filterwarnings("error")
FEW = settings(derandomize=True, deadline=None, max_examples=25)
MANY = settings(FEW, max_examples=60)
UNITS = st.integers(-480, 480).map(lambda k: 2.0**k)
SIGMAS = st.one_of(
    st.sampled_from([5e-324, 1e-16, 1.0, 1.7e308]), st.floats(-323, 308).map(lambda k: 10.0**k)
)
LARGEST = mpmath.mpf(np.finfo(float).max)


def near(found, exact, rtol, atol=5e-324):
    """Compare floats with many digits; above the largest float only infinity is right."""
    found, exact = np.ravel(found), list(exact)
    assert len(found) == len(exact)
    for one, other in zip(found, exact, strict=True):
        if abs(other) > LARGEST:
            assert one == np.inf
        else:
            assert abs(mpmath.mpf(float(one)) - other) <= rtol * abs(other) + atol, (one, other)


@given(st.lists(SIGMAS, min_size=1, max_size=4, unique=True))
@MANY
@example([1e308, 1.7e308])
def test_properties_of_levels_of_any_size(sigmas):
    sigmas = np.sort(sigmas)
    if np.any(sigmas[1:] < sigmas[:-1] * (1 + 1e-12)):
        return
    schedule = schedules.from_sigmas(sigmas)
    with mpmath.workdps(700):
        squares = [mpmath.mpf(s) ** 2 for s in sigmas]
        before = [mpmath.mpf(0), *squares[:-1]]
        near(schedule.alpha_bar, [1 / (1 + s) for s in squares], 1e-15)
        near(schedule.noise_var, [s / (1 + s) for s in squares], 1e-15)
        near(schedule.time, [mpmath.log1p(s) / 2 for s in squares], 1e-15)
        steps = [(s - b) / (1 + s) for s, b in zip(squares, before, strict=True)]
        # The difference of the levels is exact to rounding of the levels.
        near(schedule.beta, steps, 1e-14)
        there = schedule.as_vp()
        # The reciprocal of a level above 4e307 has fewer digits.
        near(there.sigma, map(mpmath.sqrt, squares), 1e-15 if sigmas[-1] < 4e307 else 1e-14)
        near(there.signal**2 + there.noise**2, [mpmath.mpf(1)] * len(sigmas), 1e-15)
        near(there.as_ve().noise, [mpmath.mpf(s) for s in there.sigma], 0)


BETAS = st.one_of(
    st.sampled_from([5e-324, 1e-16, 0.5, 1 - 2.0**-53]), st.floats(-300, -1).map(lambda k: 10.0**k)
)


@given(st.lists(BETAS, min_size=1, max_size=5))
@MANY
@example([5e-324])
@example([1 - 2.0**-53] * 5)
def test_levels_of_any_steps(betas):
    try:
        schedule = schedules.from_betas(betas)
    except ValueError as error:
        assert "steps too small" in str(error) or "strictly increasing" in str(error)
        assert min(betas) < 1e-12
        return
    with mpmath.workdps(700):
        products, value = [], mpmath.mpf(1)
        for beta in betas:
            value *= 1 - mpmath.mpf(beta)
            products.append(value)
        near(schedule.alpha_bar, products, 1e-13)
        # Numbers are square roots of the smallest float, or known to its digits.
        near(schedule.noise_var, [1 - p for p in products], 1e-14, 1e-323)


def test_levels_of_many_steps():
    betas = np.random.default_rng(0).uniform(1e-6, 2e-6, 200_000)
    schedule, exact = schedules.from_betas(betas), mpmath.mpf(1)
    with mpmath.workdps(40):
        for beta in betas:
            exact *= 1 - mpmath.mpf(float(beta))
        near(schedule.noise_var[-1:], [1 - exact], 1e-13)


@given(st.floats(-300, 300).map(lambda k: 10.0**k), st.sampled_from([1, 2, 5, 30]))
@FEW
@example(1e8, 5)
@example(0.0, 30)
def test_cosine_of_any_offset(offset, n):
    try:
        schedule = schedules.cosine(n, offset)
    except ValueError as error:
        # From there on all levels of one step in 1 / offset are the same float.
        assert "steps too small" in str(error) and offset > 1e4
        return
    with mpmath.workdps(700):
        whole, bar, exact = 1 + mpmath.mpf(offset), mpmath.mpf(1), []
        angles = [mpmath.pi / 2 * (mpmath.mpf(t) / n + offset) / whole for t in range(n + 1)]
        for low, high in itertools.pairwise(angles):
            ratio = (mpmath.cos(high) / mpmath.cos(low)) ** 2
            bar *= max(ratio, 1 - mpmath.mpf(0.999))
            exact.append(bar)
        near(schedule.alpha_bar, exact, 1e-12)
        near(schedule.noise_var, [1 - e for e in exact], 1e-12)


@given(
    st.integers(1, 6),
    st.one_of(st.just(0.0), st.floats(-300, 308).map(lambda k: 10.0**k)),
    st.floats(-300, 308).map(lambda k: 10.0**k),
)
@FEW
def test_power_laws_of_any_exponent_and_trace(d, exponent, trace):
    found = spectra.power_law(d, exponent, trace=trace)
    with mpmath.workdps(60):
        weights = [mpmath.mpf(k) ** -mpmath.mpf(exponent) for k in range(1, d + 1)]
        total = mpmath.fsum(weights)
        near(found, [mpmath.mpf(trace) * w / total for w in weights], 1e-14, 1e-307)
    same = spectra.spiked(d + 1, np.minimum(found, 1e304), trace)
    assert np.all(np.diff(same) <= 0) and same.sum() > 0 and same.size == d + 1
    assert np.all(spectra.isotropic(d, trace) == trace)


@given(
    st.one_of(
        st.floats(-150, 150).map(lambda k: 10.0**k), st.floats(-15, -1).map(lambda k: 1 + 10**k)
    )
)
@FEW
@example(1 + 1e-10)
@example(1 - 1e-16)
def test_edges_and_atom_of_any_aspect_ratio(ratio):
    low, high = spectra.marchenko_pastur_edges(ratio)
    with mpmath.workdps(400):
        q = mpmath.mpf(ratio)
        near([low, high], [(1 - mpmath.sqrt(q)) ** 2, (1 + mpmath.sqrt(q)) ** 2], 1e-14)
        near([spectra.marchenko_pastur_atom(ratio)], [max(mpmath.mpf(0), 1 - 1 / q)], 1e-14)
    if 1e-12 < ratio < 1e12:
        x = low + (high - low) * np.linspace(0, 1, 9)
        density = spectra.marchenko_pastur_density(x, ratio)
        assert np.all(density >= 0) and np.all(np.isfinite(density))


LEVELS = st.sampled_from([1 - 2.0**-53, 0.99, 0.5, 1e-3, 1e-150, 1e-290])


@given(LEVELS, st.floats(-150, 4).map(lambda k: 10.0**k), st.floats(-150, 4))
@FEW
def test_predicted_noise_of_any_level(alpha_bar, variance, size):
    x, model = np.array([0.3]) * 10.0**size, AffineDenoiser([0.7], [variance], [[1.0]])
    with mpmath.workdps(400):
        a, v = mpmath.mpf(alpha_bar), mpmath.mpf(variance)
        centred = mpmath.mpf(float(x[0])) - mpmath.sqrt(a) * mpmath.mpf(0.7)
        exact = mpmath.sqrt(1 - a) * centred / (1 - a + a * v)
        # The difference of the point and its estimate has the rounding of the larger one.
        unit = (float(x[0]) + 0.7 * np.sqrt(alpha_bar)) / np.sqrt(1 - alpha_bar)
        near(denoisers.predict_noise(model, x, alpha_bar), [exact], 1e-13, 1e-15 * unit)
        near(model.predict_noise(x, alpha_bar), [exact], 1e-13, 1e-15 * float(abs(exact)) + 1e-300)


@given(UNITS, st.integers(0, 99), st.sampled_from([0.0, 5e-324, 1e-150, 1.0, 1e150]))
@FEW
def test_streams_do_not_depend_on_the_units(unit, seed, sigma):
    data, x = np.random.default_rng(seed).standard_normal((2, 6, 3))
    whole = EmpiricalDenoiser(data).denoise(x, sigma)
    blocks = (unit * part for part in (data[:1], data[1:4], data[4:]))
    found = denoisers.stream_denoise(blocks, unit * x, unit * sigma)
    assert_allclose(found / unit, whole, rtol=1e-9, atol=1e-9)


def step(law, solver, t, s, variance, load, load_below):
    """One step of the law (mean factor, variance) of a mode, in many digits."""
    m, v = law
    spread = variance + load
    gain = spread / (spread + t**2)
    ratio = s / t
    eta = 1 if solver in ("ddpm", "ddpm-beta") else 0
    keep = ratio * mpmath.sqrt(1 - eta * (1 - ratio**2))
    factor = gain + keep * (1 - gain)
    fresh = eta * s**2 * (1 - ratio**2)
    if solver == "ddpm-beta":
        fresh = (t**2 - s**2) * (1 + s**2) / (1 + t**2) if s > 0 else 0
    if solver == "heun" and s > 0:
        below = (variance + load_below) / (variance + load_below + s**2)
        slope = (1 - gain) / t + (1 - below) * factor / s
        factor = 1 + (s - t) * slope / 2
    return 1 - factor * (1 - m), factor**2 * v + fresh


@given(
    st.lists(st.floats(-150, 149), min_size=1, max_size=4, unique=True),
    st.one_of(st.just(0.0), st.floats(-300, 304).map(lambda k: 10.0**k)),
    st.sampled_from([0.0, 5e-324, 1e-150, 1.0, 1e150]),
    st.sampled_from(["ddim", "ddpm", "ddpm-beta", "euler", "heun"]),
    st.sampled_from(["normal", "matched"]),
)
@MANY
def test_laws_and_samples_at_levels_of_any_size(decades, variance, floor, solver, start):
    sigmas = np.sort(10.0 ** np.array(decades))
    if np.any(sigmas[1:] < sigmas[:-1] * (1 + 1e-9)):
        return
    schedule = schedules.from_sigmas(sigmas)
    denoiser = AffineDenoiser([1.0], [min(variance, 1e303)], [[1.0]], floor=floor)
    law = sampling.affine_moments(denoiser, schedule, solver=solver, start=start)
    with mpmath.workdps(1000):
        whole, last = mpmath.mpf(min(variance, 1e303)) + mpmath.mpf(floor), mpmath.mpf(sigmas[-1])
        exact = mpmath.mpf(0), 1 + last**2
        if start == "matched":
            exact = mpmath.mpf(1), whole + last**2
        for t, s in zip(sigmas[::-1], [*sigmas[-2::-1], 0.0], strict=True):
            exact = step(exact, solver, mpmath.mpf(t), mpmath.mpf(s), whole, 0, 0)
        near(law.variances, exact[1:], 1e-12, 1e-290)
        near(law.mean, exact[:1], 1e-12, 1e-15)
        near(law.covariance, exact[1:], 1e-12, 1e-290)
        if solver in ("ddim", "euler", "heun") and start == "normal":
            # A deterministic sampler is the map that the law is of.
            first = np.array([[0.3], [-2.0]])
            drawn = sampling.sample(
                denoiser, schedule, 2, np.random.default_rng(0), solver=solver, start=first
            )
            scale = mpmath.sqrt(1 + last**2)
            factor = mpmath.mpf(1) - exact[0]
            points = [exact[0] + factor * scale * mpmath.mpf(float(u)) for u in first.ravel()]
            unit = float(min(abs(factor) * scale * 2 + 1, LARGEST))
            # As stated: the second slope of a step has the rounding of its first level.
            if solver != "heun" or len(sigmas) == 1:
                near(drawn, points, 1e-12, 1e-13 * unit)


@given(st.sampled_from([1, 2, 3, 1000]))
@FEW
def test_deficits_of_many_steps(n):
    found, value = multistep.ddpm_deficits(n), mpmath.mpf(1)
    with mpmath.workdps(30):
        for one in found:
            assert abs(one / value - 1) < 1e-14
            value -= value**2 / 4
    assert np.all(np.diff(found) < 0)


@given(
    st.one_of(st.floats(-150, 300).map(lambda k: 10.0**k), st.just(5e-324)),
    st.sampled_from([1, 2, 3, 10, 300, 3000]),
    st.sampled_from(["consistent", "coded"]),
)
@FEW
@example(1e-10, 300, "consistent")
@example(1e-10, 300, "coded")
def test_schedule_of_the_networks_for_any_variance(variance, n, index):
    found = multistep.network_schedule_variance(variance, n, index=index)
    with mpmath.workdps(200):
        start, step = mpmath.mpf("1e-4"), mpmath.mpf("0.0199") / n
        beta = [start + step * k for k in range(n + 1)]
        bar, levels = mpmath.mpf(1), []
        for k in range(n):
            bar *= 1 - beta[k]
            levels.append(bar * mpmath.mpf(variance) + 1 - bar)
        value = mpmath.mpf(1)
        for t in range(n, 0, -1):
            used = beta[t - 1 if index == "consistent" else t]
            value = (1 - used / levels[t - 1]) ** 2 / (1 - used) * value
            value += used if t > 1 else 0
        near(found, [value], 1e-11, 1e-300)


@given(UNITS, st.sampled_from(["ddpm", "ddim", "means"]), st.integers(1, 6), st.integers(1, 3))
@FEW
def test_laws_of_trained_chains_in_any_units(unit, rule, n, d):
    points, grid = np.random.default_rng(n).standard_normal((n, d)), np.array([0.2, 1.0, 5.0])
    unit, laws = min(max(unit, 2.0**-240), 2.0**240), []
    for noise in ("path", "single", "fresh", "averaged"):
        for u in (1.0, unit):
            rng = np.random.default_rng(1)
            chain = multistep.train_steps(u * points, u * u * grid, rng, noise=noise)
            laws.append(chain.law(rule=rule))
        (mean, cov), (moved, spread) = laws[-2:]
        assert_allclose(moved / unit, mean, rtol=1e-8, atol=1e-9)
        assert_allclose(spread / unit / unit, cov, rtol=1e-8, atol=1e-9)
        assert np.all(np.linalg.eigvalsh(cov) >= -1e-12 * np.trace(cov))


@given(
    st.sampled_from([1e-150, 1e-17, 1.0, 1e17, 1e150]),
    st.integers(8, 12),
    st.sampled_from([3, 4, 9, 13, 40, 10**6, 10**9]),
    st.sampled_from([None, 1, 2, 40, 10**9]),
    st.booleans(),
    st.sampled_from(["path", "averaged"]),
)
@FEW
def test_chance_of_a_gap_is_one(omega, d, n, reference, placebo, noise):
    options = {"reference": reference, "placebo": placebo, "noise": noise, "n_maps": 2}
    rng = np.random.default_rng(0)
    if noise == "averaged":
        n = min(n, 1000)
    if noise == "averaged" and n <= d:
        return
    try:
        found = memorisation.gap_probability([omega], d, n, rng, **options)
    except ValueError as error:
        assert "is too large for this `dimension`" in str(error)
        return
    assert 0.0 <= found <= 1.0


@given(
    st.integers(-240, 240).map(lambda k: 2.0**k),
    st.sampled_from([1, 2, 3, 9]),
    st.integers(1, 3),
    st.sampled_from([1, 2, 7]),
    st.booleans(),
)
@FEW
def test_studies_of_the_gap_in_any_units(unit, n, d, reference, placebo):
    square, found = unit * unit, []
    for s in (1.0, square):
        study = memorisation.simulate_gap(
            np.array([0.3, 1.0]) * s,
            d,
            n,
            4,
            np.random.default_rng(0),
            reference=reference,
            variance=s,
            placebo=placebo,
        )
        found.append(study)
    assert_allclose(found[1].sign, found[0].sign)
    assert_allclose(found[1].log_size, found[0].log_size, rtol=1e-8, atol=1e-8)
    assert 0.0 <= found[0].probability <= 1.0 and found[0].standard_error > 0


@given(
    st.sampled_from([1e-150, 1e-17, 1e17, 1e150]),
    st.sampled_from([1, 2, 9]),
    st.sampled_from(["path", "averaged"]),
    st.sampled_from(["ddpm", "ddim", "means"]),
)
@FEW
def test_studies_of_the_gap_at_levels_of_any_size(omega, n, noise, rule):
    truth = memorisation.gaussian_reference([0.0, 0.0], 1.0)
    study = memorisation.simulate_gap(
        [omega], 2, n, 3, np.random.default_rng(0), reference=truth, noise=noise, rule=rule
    )
    assert np.all(np.isin(study.sign, [-1.0, 0.0, 1.0])) and not np.any(np.isnan(study.log_size))


def test_studies_of_singular_chains_have_an_infinite_mean_and_error():
    study = multistep.simulate_step_kl(
        [[1.0], [0.5, 1.0]], np.ones(3), 3, 4, np.random.default_rng(0)
    )
    assert np.all(study.mean == np.inf) and np.all(study.standard_error == np.inf)
    assert study.contenders == (1, 2)


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda: spectra.power_law(3, [1.0, 2.0, 3.0]), ValueError, "`exponent`"),
        (lambda: spectra.power_law(3, 1.0, trace=[1.0]), ValueError, "`trace`"),
        (lambda: spectra.isotropic(3, [1.0]), ValueError, "`variance`"),
        (lambda: spectra.spiked(3, [1.0], [1.0]), ValueError, "`bulk`"),
        (lambda: multistep.ddpm_deficits(10**8), ValueError, "`n_steps`"),
        (lambda: multistep.best_grid_kl(10**9, 1.0), ValueError, "`n_steps`"),
        (lambda: multistep.network_schedule_variance(1.0, 10**9), ValueError, "`n_steps`"),
        (
            lambda: denoisers.predict_noise(EmpiricalDenoiser([[0.0]]), [1e149], 1e-290),
            ValueError,
            "`x over the signal`",
        ),
        (
            lambda: sampling.sample(
                EmpiricalDenoiser([[0.0]]),
                schedules.from_sigmas([1e150]),
                1,
                np.random.default_rng(0),
                start=[[1e10]],
            ),
            ValueError,
            "`start over the signal`",
        ),
    ],
)
def test_numbers_out_of_range_are_named(call, error, name):
    with pytest.raises(error, match=name):
        call()


@given(
    st.lists(
        st.one_of(st.sampled_from([0.0, 5e-324, 700.0]), st.floats(-300, 2.8).map(lambda k: 10**k)),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    st.floats(-300, 300).map(lambda k: 10.0**k),
)
@FEW
def test_levels_of_any_times(times, scale):
    times = np.sort(times)
    try:
        schedule = schedules.ornstein_uhlenbeck(times, scale)
    except ValueError as error:
        # Steps below rounding, or a ratio of the factors below or above the floats.
        small = np.any(np.diff(times) < 1e-15 * times[1:]) or scale < 1e-280 or scale > 1e-3
        assert small and ("increasing" in str(error) or "overflows" in str(error))
        return
    with mpmath.workdps(700):
        exact = [(mpmath.exp(-t), -scale * mpmath.expm1(-2 * t)) for t in map(mpmath.mpf, times)]
        near(schedule.signal, [s for s, _ in exact], 1e-13)
        near(schedule.noise, [mpmath.sqrt(n) for _, n in exact], 1e-13)


@given(st.integers(1, 50), st.floats(-300, -1), st.floats(-300, -1))
@FEW
def test_levels_of_linear_steps_of_any_size(n, first, last):
    try:
        schedule = schedules.linear_beta(n, 10.0**first, 10.0**last)
    except ValueError as error:
        assert "steps too small" in str(error) and last < first
        return
    with mpmath.workdps(700):
        low, high, value = mpmath.mpf(10.0**first), mpmath.mpf(10.0**last), mpmath.mpf(1)
        for t in range(n):
            value *= 1 - (low + (high - low) * t / max(n - 1, 1))
        near(schedule.noise_var[-1:], [1 - value], 1e-13)


@given(st.one_of(st.just(0.0), SIGMAS))
@FEW
def test_one_level_of_any_size(sigma):
    with mpmath.workdps(700):
        near([schedules.sigma_to_alpha_bar(sigma)], [1 / (1 + mpmath.mpf(sigma) ** 2)], 1e-15)


@given(st.floats(-300, 150), st.floats(-323, 150), st.floats(-323, 150))
@FEW
def test_points_and_noise_of_any_size(size, signal, noise):
    x0, signal, noise = np.full((2, 3), 10.0**size), 10.0**signal, 10.0**noise
    found = schedules.add_noise(x0, signal, noise, np.random.default_rng(0))
    drawn = np.random.default_rng(0).standard_normal((2, 3))
    assert_allclose(found, signal * x0 + noise * drawn, rtol=1e-15)
    assert np.all(np.isfinite(found))


@given(
    st.lists(st.floats(-300, 304).map(lambda k: 10.0**k), min_size=1, max_size=3),
    st.floats(-323, 308).map(lambda k: 10.0**k),
)
@FEW
def test_degrees_of_freedom_of_any_size(values, floor):
    with mpmath.workdps(700):
        exact = mpmath.fsum(mpmath.mpf(v) / (mpmath.mpf(v) + mpmath.mpf(floor)) for v in values)
        near([spectra.degrees_of_freedom(values, floor)], [exact], 1e-14)


@given(
    st.one_of(st.sampled_from([0.0, 5e-324, 1.7e308]), st.floats(-300, 300).map(lambda k: 10**k)),
    st.one_of(st.sampled_from([0.0, 1.0, 1e300]), st.floats(-20, 20).map(lambda k: 10.0**k)),
)
@FEW
def test_bias_of_any_start(x, ratio):
    with mpmath.workdps(700):
        share = mpmath.mpf(x) / (1 + mpmath.mpf(x))
        powers = [p * (1 + mpmath.mpf(ratio)) for p in (mpmath.mpf(1) / 2, 1)]
        logs = [p * mpmath.log(share) if x > 0 else -mpmath.inf for p in powers]
        near(sampling.final_bias(x, ratio=ratio), [-mpmath.expm1(p) for p in logs], 1e-13)


@given(
    st.one_of(st.just(0.0), st.floats(-300, 304).map(lambda k: 10.0**k)),
    st.sampled_from([0.0, 5e-324, 1.0, 1e300]),
    st.floats(-150, 150),
    st.one_of(st.none(), st.floats(-150, 150)),
)
@FEW
def test_flow_of_any_level(variance, floor, begin, end):
    denoiser = AffineDenoiser([1.0, 0.0], [min(variance, 1e303)], [[1.0], [0.0]], floor=floor)
    begin, end = 10.0**begin, 0.0 if end is None else 10.0**end
    x = np.array([3.0, -2.0])
    with mpmath.workdps(1400):
        spreads = [mpmath.mpf(min(variance, 1e303)) + mpmath.mpf(floor), mpmath.mpf(floor)]
        factors = [
            mpmath.sqrt((s + mpmath.mpf(end) ** 2) / (s + mpmath.mpf(begin) ** 2)) for s in spreads
        ]
        near(
            sampling.flow_map(denoiser, x, begin, end),
            [1 + 2 * factors[0], -2 * factors[1]],
            1e-12,
            1e-15 * min(float(max(factors)), 1e300) * (factors[0] != factors[1]),
        )


@given(
    st.lists(st.floats(-150, 150), min_size=1, max_size=4, unique=True),
    st.one_of(st.just(0.0), st.floats(-300, 304).map(lambda k: 10.0**k)),
    st.sampled_from(["ddim", "ddpm", "ddpm-beta", "euler", "heun"]),
    st.sampled_from(["normal", "matched"]),
)
@FEW
def test_trajectories_at_levels_of_any_size(decades, variance, solver, start):
    sigmas = np.sort(10.0 ** np.array(decades))
    if np.any(sigmas[1:] < sigmas[:-1] * (1 + 1e-9)):
        return
    schedule = schedules.from_sigmas(sigmas)
    options = {"solver": solver, "start": start}
    means, variances = sampling.mode_trajectory([variance], schedule, **options)
    mean, end = sampling.mode_moments([variance], schedule, **options)
    assert_allclose(means[0], mean, rtol=1e-12)
    assert_allclose(variances[0], end, rtol=1e-12, atol=1e-290)
    assert np.all(np.isfinite(means)) and np.all(np.isfinite(variances))
    if start == "matched":
        level = schedule.alpha_bar[-1]
        wanted = level * variance + schedule.noise_var[-1]
        assert_allclose(variances[-1], wanted, rtol=1e-12, atol=1e-290)


GRIDS = st.lists(st.floats(-150, 150), min_size=1, max_size=4, unique=True).map(
    lambda decades: np.sort(10.0 ** np.array(decades))
)


def spaced(grid):
    return np.all(grid[1:] > grid[:-1] * (1 + 1e-9))


@given(
    GRIDS,
    st.floats(-150, 150).map(lambda k: 10.0**k),
    st.integers(1, 4),
    st.sampled_from([None, 7, 40, 10**9]),
)
@FEW
def test_forced_steps_and_fresh_sets_at_levels_of_any_size(grid, s, d, n):
    if not spaced(grid):
        return
    with mpmath.workdps(700):
        omega, s_exact = [mpmath.mpf(w) for w in grid], mpmath.mpf(s)
        below = [mpmath.mpf(0), *omega[:-1]]
        kappa = mpmath.mpf(0) if n is None else mpmath.mpf(d) / (n - d - 2)
        ratios = [(s_exact + b) / (s_exact + w) for b, w in zip(below, omega, strict=True)]
        exact = (
            mpmath.mpf(d) / 2 * mpmath.fsum(-mpmath.log(r) - (1 - kappa) * (1 - r) for r in ratios)
        )
        found = multistep.teacher_forced_kl(grid, d, variance=s, n_samples=n)
        near([found], [exact], 1e-12, 1e-300)
        if n is None:
            return
        for rule in ("ddpm", "ddim"):
            value = s_exact + omega[-1]
            for b, w in zip(below[::-1], omega[::-1], strict=True):
                r = mpmath.sqrt(b / w) if rule == "ddim" else b / w
                rho = s_exact / (s_exact + w)
                noise = b * (1 - r) if rule == "ddpm" else 0
                value *= (r + (1 - r) * rho) ** 2 + (1 - r) ** 2 * rho * (1 - rho) * kappa
                value += noise
            found = multistep.fresh_sets_trace(grid, d, n, variance=s, rule=rule)
            near([found], [value], 1e-12, 1e-290)


@given(GRIDS, st.floats(-12, -0.02).map(lambda k: 10.0**k), st.sampled_from(["ddpm", "ddim"]))
@FEW
def test_averaged_noise_at_levels_of_any_size(grid, aspect, rule):
    if not spaced(grid):
        return
    found = multistep.averaged_noise_kl(aspect, grid, rule=rule)
    assert found >= 0
    if aspect < 1e-9:
        exact = multistep.step_kl([1.0], grid, rule=rule)
        assert_allclose(found, exact, rtol=1e-4, atol=aspect)


@given(
    st.floats(-130, 130),
    st.floats(-10, 10),
    st.floats(-10, 10),
    st.integers(1, 3),
    st.sampled_from(["ddpm", "ddim"]),
)
@settings(FEW, max_examples=12)
def test_grids_of_many_modes_in_any_units(size, first, second, n, rule):
    values, end = 10.0 ** np.array([first, second]), 1.0
    unit = 2.0 ** int(size * np.log2(10))
    for function in (multistep.continuum_grid, multistep.optimise_grid):
        plain = function(values, n, end, rule=rule)
        moved = function(unit * values, n, unit * end, rule=rule)
        assert np.all(np.diff(plain) > 0) and plain[0] > 0 and plain[-1] == end
        assert_allclose(moved / unit, plain, rtol=1e-4)
    found = multistep.continuum_kl(unit * values, n, unit * end, rule=rule)
    assert_allclose(found, multistep.continuum_kl(values, n, end, rule=rule), rtol=1e-9)


@given(UNITS, st.integers(0, 99))
@FEW
def test_copies_in_any_units(unit, seed):
    samples, points, fresh = np.random.default_rng(seed).standard_normal((3, 9, 2))
    found = memorisation.copy_rate(unit * samples, unit * points, unit * fresh)
    assert found == memorisation.copy_rate(samples, points, fresh)


@given(*(st.one_of(st.integers(1, 9), st.sampled_from([10**9, 10**18])) for _ in range(2)))
@FEW
def test_mean_pixel_distance_of_any_sizes(n, m):
    with mpmath.workdps(60):
        own = 2 + mpmath.fsum((k - 1) / mpmath.sqrt(1 + mpmath.mpf(k) ** 2) for k in (n, m))
        exact = own / mpmath.sqrt(2) - 2 / mpmath.sqrt(
            2 + mpmath.mpf(n) ** -2 + mpmath.mpf(m) ** -2
        )
        near([memorisation.pixel_distance_mean(n, m)], [exact / mpmath.sqrt(2 * mpmath.pi)], 1e-14)
