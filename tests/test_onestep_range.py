"""The one-step model at the edges of float64, against many digits and in any unit."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from lindiff import onestep
from lindiff.onestep import OneStepModel

pytestmark = pytest.mark.filterwarnings("error")
FEW = settings(derandomize=True, deadline=None, max_examples=25)
DECADES = st.floats(-300.0, 300.0).map(lambda k: 10.0**k)
RATIOS = st.one_of(st.sampled_from([0.0, 5e-324, 1e-17, 1.0, 1.7e308]), DECADES)
SIZES = st.sampled_from([1, 2, 3, 8, 9, 40, 1000, 20_000, 10**9])
# Powers of two change the units without rounding.
UNITS = st.integers(-480, 480).map(lambda k: 2.0**k)


def digits(function, *arguments):
    with mpmath.workdps(1400):
        value = function(*(mpmath.mpf(float(a)) for a in arguments))
        return float(value) if abs(value) < mpmath.mpf("1.79e308") else np.inf


@given(st.one_of(st.sampled_from([0.0, 5e-324, 300.0]), st.floats(-323, 2.4).map(lambda k: 10**k)))
@FEW
@example(3e-320)
def test_ratio_of_a_divergence_of_any_size(target):
    found = onestep.required_noise_to_signal(target)
    if target == 0:
        assert found == 0
        return
    with mpmath.workdps(700):
        start = mpmath.sqrt(4 * mpmath.mpf(target)) if target < 0.01 else mpmath.mpf(float(found))

        def excess(ratio):
            return mpmath.log1p(ratio) - ratio / (1 + ratio) - 2 * mpmath.mpf(target)

        ratio = start
        for _ in range(40):
            ratio -= excess(ratio) * (1 + ratio) ** 2 / ratio
        assert abs(excess(ratio)) < mpmath.mpf(10) ** -600
        assert_allclose(found, float(ratio), rtol=1e-12)


@given(
    st.floats(-300, 2.4).map(lambda k: 10.0**k),
    st.one_of(st.just(0.0), st.floats(-323, 300).map(lambda k: 10.0**k)),
    st.floats(-323, 300).map(lambda k: 10.0**k),
)
@FEW
@example(0.3, 1e-200, 1e-310)
@example(1e-20, 1e300, 1e300)
def test_ratio_of_any_time_and_units(time, scale, variance):
    exact = digits(lambda t, a, v: a * mpmath.expm1(2 * t) / v, time, scale, variance)
    if exact == np.inf:
        with pytest.raises(ValueError, match="overflows"):
            onestep.noise_to_signal(time, scale, variance)
        return
    assert_allclose(onestep.noise_to_signal(time, scale, variance), exact, rtol=1e-14, atol=5e-324)
    rho = digits(lambda t, a, v: v / (v + a * mpmath.expm1(2 * t)), time, scale, variance)
    found = onestep.correlation_squared(time, scale, variance)
    assert_allclose(found, rho, rtol=1e-14, atol=5e-324)


@given(
    st.floats(-300, 2.4).map(lambda k: 10.0**k),
    st.one_of(st.just(0.0), st.floats(-290, 290).map(lambda k: 10.0**k)),
    st.floats(-290, 290).map(lambda k: 10.0**k),
)
@FEW
@example(240.0, 1e290, 1e280)
def test_model_of_any_time_and_units(time, scale, variance):
    try:
        model = OneStepModel(time=time, noise_scale=scale, variance=variance)
    except ValueError as error:
        assert "overflows" in str(error)
        return
    expm1, exp = mpmath.expm1, mpmath.exp
    for found, exact in (
        (model.signal, lambda t, a, v: exp(-t)),
        (model.noise**2, lambda t, a, v: -a * expm1(-2 * t)),
        (model.noised_variance, lambda t, a, v: exp(-2 * t) * v - a * expm1(-2 * t)),
        (model.slope, lambda t, a, v: v / (v + a * expm1(2 * t)) * exp(t)),
        (model.residual_variance, lambda t, a, v: v * a / (v / expm1(2 * t) + a)),
        (model.generated_variance, lambda t, a, v: v / (v + a * expm1(2 * t)) * v),
    ):
        assert_allclose(found, digits(exact, time, scale, variance), rtol=1e-12, atol=1e-300)


def exact_asymptotic(ratio, dimension, degrees):
    """Value, and the size of what its two terms leave to rounding."""
    with mpmath.workdps(400):
        ratio, d, nu = mpmath.mpf(ratio), mpmath.mpf(dimension), mpmath.mpf(degrees)
        rho = 1 / (1 + ratio)
        if d / nu > rho:
            psi = mpmath.digamma
            zero = mpmath.fsum(
                psi((i + 1) / 2) - psi((nu - i) / 2) for i in map(mpmath.mpf, range(dimension))
            )
            return float(zero - (nu - d) * mpmath.log(1 - rho))
        if d / nu == rho:
            return -np.inf
        return float(d * mpmath.log(rho) + mpmath.log((rho - d / nu) / (rho * (1 - d / nu))))


@given(RATIOS, st.integers(1, 9), SIZES, st.booleans())
@settings(FEW, max_examples=60)
@example(1e-10, 5, 11, True)
@example(2e7, 8, 10**9, False)
@example(1e8, 8, 10**9, False)
@example(1.0, 4, 9, True)
@example(3.0, 3, 13, True)
def test_asymptotic_log_determinant_of_any_size(ratio, dimension, n, intercept):
    found = onestep.log_det_asymptotic(ratio, dimension, n, intercept=intercept)
    degrees = n - intercept
    if degrees < dimension:
        assert found == -np.inf
    elif degrees == dimension:
        assert found == 0.0
    else:
        exact = exact_asymptotic(ratio, dimension, degrees)
        assert_allclose(found, exact, rtol=1e-11, atol=1e-300)


VALUES = st.lists(st.floats(-150, 150).map(lambda k: 10.0**k), min_size=1, max_size=3)


@given(VALUES, SIZES, st.floats(-9, 2).map(lambda k: 10.0**k), st.one_of(st.just(0.0), DECADES))
@settings(FEW, max_examples=60)
@example([1.0, 3.0], 10**9, 1e-9, 1e-9)
def test_modes_of_the_finite_model_of_any_size(values, n, time, scale):
    options = {"time": time, "noise_scale": scale}
    d, degrees = len(values), n - 1
    with mpmath.workdps(700):
        growth = mpmath.mpf(scale) * mpmath.expm1(2 * mpmath.mpf(time))
        ratios = [growth / mpmath.mpf(v) for v in values]
        if max(ratios) > mpmath.mpf("1.79e308"):
            with pytest.raises(ValueError, match="overflows"):
                onestep.expected_trace_modes(values, n, **options)
            return
        found = onestep.expected_trace_modes(values, n, **options)
        if degrees <= d + 1:
            assert np.all(found == np.inf)
        else:
            kappa = mpmath.mpf(d) / (degrees - d - 1)
            exact = [float((1 + r * kappa) / (1 + r)) for r in ratios]
            assert_allclose(found, exact, rtol=1e-14)
        if degrees <= d + 1 or degrees < d + sum(ratios):
            if degrees < (d + sum(ratios)) * (1 - mpmath.mpf("1e-12")) or degrees <= d + 1:
                with pytest.raises(ValueError, match="`n_samples` is too small"):
                    onestep.kl_modes_finite(values, n, **options)
            return
        exact = sum(mpmath.log1p(r) - r / (1 + r) * (1 - kappa) for r in ratios) / 2
        if degrees > (d + sum(ratios)) * (1 + mpmath.mpf("1e-12")):
            found = onestep.kl_modes_finite(values, n, **options)
            assert_allclose(found, float(exact), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("sampler", ["isotropic", "full"])
def test_thresholds_to_the_last_digits(sampler):
    found = onestep.monotone_threshold(sampler=sampler)
    with mpmath.workdps(40):
        if sampler == "full":
            noise = mpmath.exp(mpmath.lambertw(mpmath.mpf(-1) / 4))
            c = 1 / (2 * noise)
        else:
            c = mpmath.findroot(lambda x: 2 * x * mpmath.exp(x / 2) - 1 + x, 0.3)
            noise = (1 - c) ** 2 / (2 * c)
        exact = [float(noise / (1 - noise)), float(c)]
    assert_allclose(found, exact, rtol=1e-14)


@given(UNITS, UNITS, st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(0, 99))
@FEW
def test_fits_in_any_units(clean_unit, noised_unit, n, d, intercept, seed):
    draw = np.random.default_rng(seed)
    clean, noised = draw.standard_normal((2, n, d))
    if n < 2 and intercept:
        return
    plain = onestep.fit_one_step(noised, clean, intercept=intercept)
    moved = onestep.fit_one_step(noised_unit * noised, clean_unit * clean, intercept=intercept)
    for name, unit in (("weights", clean_unit / noised_unit), ("intercept", clean_unit)):
        wanted = getattr(plain, name)
        size = max(1.0, np.abs(wanted).max())
        assert_allclose(getattr(moved, name) / unit, wanted, rtol=1e-9, atol=1e-12 * size)
    assert_allclose(
        moved.clean_variance / clean_unit / clean_unit, plain.clean_variance, rtol=1e-12
    )
    assert_allclose(
        moved.denoise(noised_unit * noised) / clean_unit, plain.denoise(noised), atol=1e-9
    )
    scale = noised_unit * noised_unit
    for sampler in ("isotropic", "population", "full"):
        laws = [
            onestep.generated_law(
                fit, OneStepModel(time=0.5, noise_scale=b, variance=a, dimension=d), sampler=sampler
            )
            for fit, a, b in ((plain, 1.0, 1.0), (moved, scale, scale))
            if noised_unit == clean_unit
        ]
        for part in zip(*laws, strict=True):
            assert_allclose(part[1] / clean_unit, part[0], rtol=1e-8, atol=1e-10)


@given(RATIOS, st.sampled_from([1, 2, 3, 4, 9, 10**9]), st.integers(1, 3), st.booleans())
@FEW
def test_drawn_maps_of_any_ratio_and_size(ratio, n, dimension, intercept):
    rng = np.random.default_rng(0)
    if n - intercept < 1:
        with pytest.raises(ValueError, match="`n_samples` must be at least 2"):
            onestep.sample_maps(ratio, dimension, n, 2, rng, intercept=intercept)
        return
    maps = onestep.sample_maps(ratio, dimension, n, 2, rng, intercept=intercept)
    assert np.all(np.isfinite(maps))
    if n == 10**9:
        root = 1 / np.sqrt(1 + ratio)
        assert_allclose(maps, np.broadcast_to(root * np.eye(dimension), maps.shape), atol=1e-3)
    if n < 10:
        for law in ("gaussian", "signs", "heavy tails", "common scale"):
            made = onestep.fit_maps(ratio, dimension, n, 2, rng, law=law, intercept=intercept)
            assert np.all(np.isfinite(made))


@given(
    RATIOS,
    st.sampled_from([2, 3, 4, 9, 10**9]),
    st.integers(1, 3),
    st.sampled_from(["isotropic", "population", "full"]),
    st.sampled_from([0.0, 1e-150, 1e-20, 0.3, 1e150]),
)
@settings(FEW, max_examples=60)
@example(1.0, 2, 3, "population", 1e-20)
def test_runs_of_any_ratio_size_and_width(ratio, n, dimension, sampler, width):
    model = OneStepModel.with_ratio(ratio, dimension)
    routes = ["wishart", "regression"] if n < 10 and ratio < 1e290 else ["wishart"]
    for route in routes:
        options = {"sampler": sampler, "width": width, "route": route}
        runs = onestep.simulate_finite(model, n, 3, np.random.default_rng(1), **options)
        assert np.all(runs.trace >= 0) and np.all(runs.kl_mean >= 0)
        assert not np.any(np.isnan(runs.kl))
        if n == 10**9 and width == 0 and ratio <= 1:
            exact = float(onestep.kl_population(ratio, dimension))
            assert_allclose(runs.kl, exact, rtol=2e-2, atol=1e-6)
        if n - 1 < dimension:
            # The missing directions keep the variance of the kernel alone.
            assert np.all(runs.kl == np.inf) == (width == 0)
            if 0 < width < 1e-10 and n == 2:
                alone = 2 * (dimension - 1) * np.log(width)
                assert_allclose(runs.log_det - alone, np.log(runs.trace), atol=1e-5)
        mean, error = onestep.simulate_sizes(model, [n], 3, np.random.default_rng(1), **options)
        assert_allclose(mean, np.mean(runs.kl) / dimension, rtol=1e-12)
        assert error >= 0


@given(UNITS, st.sampled_from(["wishart", "regression"]))
@FEW
def test_runs_in_any_units(unit, route):
    square = unit * unit
    runs = [
        onestep.simulate_finite(
            OneStepModel(time=0.5, noise_scale=s, variance=s, dimension=2),
            6,
            2,
            np.random.default_rng(2),
            route=route,
        )
        for s in (1.0, square)
    ]
    for name in ("trace", "log_det", "kl_mean"):
        assert_allclose(getattr(runs[1], name), getattr(runs[0], name), rtol=1e-9, atol=1e-12)
    one, two = (
        onestep.simulate_population(
            OneStepModel(time=0.5, noise_scale=s, variance=s, dimension=2),
            50,
            np.random.default_rng(3),
            mean=u,
            add_residual=True,
        )
        for u, s in ((1.0, 1.0), (unit, square))
    )
    assert_allclose(two.kl, one.kl, rtol=1e-9)
    assert_allclose(two.weights, one.weights, rtol=1e-9, atol=1e-12)
    assert_allclose(two.variance / square, one.variance, rtol=1e-9)
    assert_allclose(two.mean / unit, one.mean, rtol=1e-9)


@given(RATIOS)
@FEW
@example(1e300)
def test_brute_force_of_any_ratio(ratio):
    model = OneStepModel.with_ratio(ratio, 2)
    run = onestep.simulate_population(model, 4000, np.random.default_rng(4))
    # The fit adds (1 - rho) d / n to the variance.
    assert_allclose(run.variance, 1 / (1 + ratio) + 2 / 4000, rtol=0.3)
    assert np.isfinite(run.kl)
    tried = onestep.simulate_random_features(
        ratio, 2, 5, 3, 2, np.random.default_rng(5), ridge=1e-12
    )
    assert np.all(np.isfinite(tried))


@given(
    UNITS,
    st.sampled_from([0.0, 1e-17, 1.0, 1e6]),
    st.sampled_from([1, 2, 3, 9]),
    st.sampled_from([0.0, 1e-3, 1.0]),
)
@FEW
@example(1.0, 0.0, 9, 0.0)
def test_simulated_modes_in_any_units(unit, scale, n, ridge):
    unit = min(max(unit, 2.0**-478), 2.0**478)
    values, square = np.array([3.0, 1.0, 0.05]), unit * unit
    runs = [
        onestep.simulate_modes(
            values * s,
            n,
            2,
            np.random.default_rng(6),
            time=0.3,
            noise_scale=scale * s,
            ridge=ridge * s,
        )
        for s in (1.0, square)
    ]
    assert np.all(np.isfinite(runs[0].variances))
    assert_allclose(runs[1].variances, runs[0].variances, rtol=1e-6)
    assert_allclose(runs[1].kl, runs[0].kl, rtol=1e-6, atol=1e-12)
    assert np.all(runs[0].kl == np.inf) == (n < 3)
    if scale == 0 and n == 9 and ridge == 0:
        assert_allclose(runs[0].variances, 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda rng: onestep.fit_one_step([[1e151]], [[1.0]], intercept=False), "`noised`"),
        (lambda rng: onestep.fit_one_step([[1.0]], [[1e151]], intercept=False), "`clean`"),
        (
            lambda rng: onestep.simulate_finite(
                OneStepModel.with_ratio(1.0), 3, 2, rng, width=1e200
            ),
            "`width`",
        ),
        (
            lambda rng: onestep.simulate_modes([1.0, 1e-13], 9, 2, rng, time=0.3, noise_scale=0.0),
            "12 decades",
        ),
        (
            lambda rng: onestep.simulate_random_features(1.0, 2, 3, 4, 2, rng, ridge=1e-300),
            "`ridge`",
        ),
    ],
)
def test_numbers_out_of_range_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call(np.random.default_rng(0))


ASPECTS = st.one_of(
    st.sampled_from([1e-300, 0.5, 0.9, 1.0, 2.0, 1e300]), st.floats(-12, 2).map(lambda k: 10.0**k)
)


def exact_limits(ratio, aspect):
    """Trace, log-determinant and the three divergences per dimension, in many digits."""
    ratio, c = mpmath.mpf(ratio), mpmath.mpf(aspect)
    rho, noise, log = 1 / (1 + ratio), ratio / (1 + ratio), mpmath.log
    inf = mpmath.inf
    if c == 1:
        trace = mpmath.mpf(1) if ratio == 0 else inf
    else:
        trace = rho + noise * c / (1 - c) if c < 1 else rho / c + noise / (c - 1)
    if c > 1:
        return trace, -inf, inf, inf, inf
    if c <= rho:
        log_det = log(rho)
    elif c == 1:
        log_det = mpmath.mpf(0)
    else:
        log_det = log(c) + (1 - c) / c * log((1 - c) / noise)
    full = rho + noise * c - log_det + (0 if c == 1 else (1 - c) / c * log(1 - c))
    back = (1 - c) / (rho - c) - 1 + log(rho) if c < rho else inf
    return trace, log_det, (trace - 1 - log_det) / 2, full / 2, back / 2


@given(RATIOS, ASPECTS)
@settings(FEW, max_examples=80)
@example(1e-10, 1e-5)
@example(1e12, 1e-5)
@example(1.0, 0.5)
@example(0.0, 1.0)
def test_limits_of_any_ratio_and_aspect(ratio, aspect):
    with mpmath.workdps(700):
        exact = exact_limits(ratio, aspect)
    found = (
        onestep.trace_limit(ratio, aspect),
        onestep.log_det_limit(ratio, aspect),
        onestep.kl_limit(ratio, aspect),
        onestep.kl_limit(ratio, aspect, sampler="full"),
        onestep.kl_reverse_limit(ratio, aspect),
    )
    near_edge = abs(aspect * (1 + ratio) - 1) < 1e-3
    for k, (one, other) in enumerate(zip(found, exact, strict=True)):
        if k < 4 or not near_edge:
            assert_allclose(one, float(other), rtol=1e-12, atol=1e-300, err_msg=str(k))


@given(RATIOS, st.integers(1, 10**9))
@FEW
def test_expansions_of_any_ratio(ratio, dimension):
    if ratio <= 1e90:
        exact = digits(lambda r, d: d * (r**2 / 4 - r**3 / 3), ratio, dimension)
        scale = 0 if ratio > 1 or ratio < 0.5 else dimension * ratio**2
        found = onestep.kl_small_noise(ratio, dimension)
        assert_allclose(found, exact, rtol=1e-13, atol=1e-15 * scale + 1e-300)
    if ratio > 0:
        exact = digits(lambda r, d: d / 2 * (mpmath.log(r) - 1), ratio, dimension)
        found = onestep.kl_large_noise(ratio, dimension)
        assert_allclose(found, exact, rtol=1e-13, atol=1e-15 * dimension)


@given(VALUES, st.floats(-9, 2).map(lambda k: 10.0**k), st.one_of(st.just(0.0), DECADES))
@FEW
def test_divergence_of_modes_of_any_size(values, time, scale):
    with mpmath.workdps(700):
        growth = mpmath.mpf(scale) * mpmath.expm1(2 * mpmath.mpf(time))
        ratios = [growth / mpmath.mpf(v) for v in values]
        if max(ratios) > mpmath.mpf("1.79e308"):
            return
        exact = [float((mpmath.log1p(r) - r / (1 + r)) / 2) for r in ratios]
    options = {"time": time, "noise_scale": scale}
    assert_allclose(onestep.kl_modes(values, **options), exact, rtol=1e-12, atol=1e-300)
    found = onestep.kl_anisotropic(values, **options)
    assert_allclose(found, np.sum(exact), rtol=1e-12, atol=1e-300)


@given(
    st.one_of(st.sampled_from([0.0, 5e-324, 300.0]), st.floats(-300, 2.4).map(lambda k: 10**k)),
    st.floats(-300, 3).map(lambda k: 10.0**k),
    DECADES,
)
@FEW
@example(1.0, 1000.0, 1.0)
@example(1e-200, 1e-300, 1e-150)
@example(300.0, 700.0, 1e300)
def test_required_noise_of_any_size(target, time, variance):
    ratio = float(onestep.required_noise_to_signal(target))
    exact = digits(lambda r, t, v: r * v / mpmath.expm1(2 * t), ratio, time, variance)
    found = onestep.required_noise_scale(target, time, variance)
    assert_allclose(found, exact, rtol=1e-12, atol=5e-324)


@given(
    RATIOS,
    st.floats(-300, 100).map(lambda k: 10.0**k),
    st.floats(-75, 75).map(lambda k: 10.0**k),
)
@FEW
def test_few_samples_of_any_number_and_width(ratio, alpha, width):
    with mpmath.workdps(700):
        noise, a = mpmath.mpf(ratio) / (1 + mpmath.mpf(ratio)), mpmath.mpf(alpha)
        distance, kernel = 1 - a + noise * a**2 / 2, mpmath.mpf(width) ** 2
        terms = [
            *(a, noise * a**2, kernel, mpmath.mpf(-1), -(1 - a) * mpmath.log(kernel)),
            *(-a * mpmath.log1p(kernel), -noise * a**2 * kernel / (1 + kernel) ** 2),
        ]
        size, total = float(max(map(abs, terms))), float(mpmath.fsum(terms) / 2)
        found = onestep.wasserstein2_few_samples(ratio, alpha)
        assert_allclose(found, float(distance), rtol=1e-14, atol=1e-15 * (1 + alpha))
    found = onestep.kl_regularised_few_samples(ratio, alpha, width)
    assert_allclose(found, total, rtol=1e-14, atol=3e-15 * size)


@given(*(st.floats(-size, size).map(lambda k: 10.0**k) for size in (6, 10, 6)))
@FEW
@example(1.0, 1.0, 0.3)
def test_divergence_with_a_kernel_of_any_width(ratio, aspect, width):
    found = onestep.kl_regularised(ratio, aspect, width)
    assert found >= -1e-9 and (found == np.inf) == (aspect == 1)
    exponent = onestep.hellinger_exponent(ratio, aspect)
    assert exponent >= -1e-9 and (exponent == np.inf) == (aspect > 1)


@given(RATIOS, st.integers(1, 4), st.integers(1, 40), st.booleans())
@FEW
def test_exact_log_determinant_of_any_ratio(ratio, dimension, n, intercept):
    if 0 < ratio < 0.01:
        return
    found = onestep.expected_log_det(ratio, dimension, n, intercept=intercept)
    degrees = n - intercept
    if degrees < dimension:
        assert found == -np.inf
    elif degrees == dimension or ratio == 0:
        assert found == 0.0
    else:
        assert found < 0
        # The most that the trace allows, by the inequality of the means.
        trace = onestep.expected_trace(ratio, dimension, n, intercept=intercept)
        assert found <= dimension * np.log(trace / dimension) + 1e-12
