"""One rule for rounding below zero and for singularity, at every entrance of the theory."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff import _check, gaussians, memorisation, multistep, sampling, spectra
from lindiff.denoisers import AffineDenoiser, GaussianMixtureDenoiser
from lindiff.schedules import karras

LEVELS = karras(3)
POINTS = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [3.0, 1.0, 0.0], [1.0, 2.0, 4.0]])


def rng():
    return np.random.default_rng(0)


def rank_deficient(dtype, seed, dim=40):
    """Covariance of d points in d dimensions, computed in `dtype`: rank d - 1."""
    data = np.random.default_rng(seed).standard_normal((dim, dim)).astype(dtype)
    data -= data.mean(axis=0)
    return data.T @ data / dtype(dim)


SPECTRA = {
    "kl_spectral": ("var_p", lambda v: gaussians.kl_spectral(v, [1.0, 2.0, 3.0])),
    "kl_spectral q": ("var_q", lambda v: gaussians.kl_spectral([1.0, 2.0, 3.0], v)),
    "w2 spectral": ("var_p", lambda v: gaussians.wasserstein2_squared_spectral(v, [1, 2, 3])),
    "participation": ("eigenvalues", spectra.participation_ratio),
    "degrees": ("eigenvalues", lambda v: spectra.degrees_of_freedom(v, 0.1)),
    "spiked": ("spikes", lambda v: spectra.spiked(5, v)),
    "sample_spectra": ("eigenvalues", lambda v: spectra.sample_spectra(v, 5, rng()).eigenvalues),
    "sample_log_det": ("eigenvalues", lambda v: spectra.sample_log_det(v, 5, rng())),
    "AffineDenoiser": (
        "eigenvalues",
        lambda v: AffineDenoiser(np.zeros(3), v, np.eye(3)).denoise([[1.0, 2.0, 3.0]], 0.5),
    ),
    "mode_moments": ("eigenvalues", lambda v: sampling.mode_moments(v, LEVELS)[1]),
    "mode_trajectory": ("eigenvalues", lambda v: sampling.mode_trajectory(v, LEVELS)[1]),
    "ddim_limit_variance": ("eigenvalues", lambda v: sampling.ddim_variance(v, 1e-3)),
    "ddim_mean_factor": ("eigenvalues", lambda v: sampling.ddim_mean_factor(v, 1e-3)),
    "step_variance": ("eigenvalues", lambda v: multistep.step_variance(v, [0.1, 1.0])),
}


@pytest.mark.parametrize("entry", SPECTRA)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_spectrum_below_zero_by_rounding_is_that_with_a_zero(entry, dtype):
    name, call = SPECTRA[entry]
    unit = np.finfo(dtype).eps
    zero = call(np.array([2.0, 1.0, 0.0], dtype))
    for below in (1e-17, 2.9 * 4 * unit):
        np.testing.assert_array_equal(call(np.array([2.0, 1.0, -below], dtype)), zero)
    for below in (3.1 * 4 * unit, 1e-3):
        with pytest.raises(
            ValueError, match=rf"`{name}` has negative entries, down to -\d"
        ) as told:
            call(np.array([2.0, 1.0, -below], dtype))
        assert np.dtype(dtype).name in str(told.value) and "Set them to zero" in str(told.value)


ZERO, THREE = np.zeros(3), np.eye(3)
COVARIANCES = {
    "kl p": ("cov_p", lambda c: gaussians.kl_gaussian(ZERO, c, ZERO, THREE)),
    "kl q": ("cov_q", lambda c: gaussians.kl_gaussian(ZERO, THREE, ZERO, c)),
    "w2": ("cov_p", lambda c: gaussians.wasserstein2_squared(ZERO, c, ZERO, THREE)),
    "hellinger": ("cov_p", lambda c: gaussians.hellinger_squared(ZERO, c, ZERO, THREE)),
    "entropy": ("cov", gaussians.entropy),
    "condition": ("cov", lambda c: gaussians.condition(ZERO, c, [0], [1.0])[0]),
    "posterior": (
        "cov",
        lambda c: gaussians.posterior_mean(ZERO, c, [1.0, 2.0, 3.0], signal=0.5, noise=0.5),
    ),
    "sample": ("cov", lambda c: gaussians.sample(ZERO, c, 2, rng())),
    "from_moments": (
        "cov",
        lambda c: AffineDenoiser.from_moments(ZERO, c).denoise([1.0, 2.0, 3.0], 0.5),
    ),
    "mixture": (
        "covs[0]",
        lambda c: GaussianMixtureDenoiser([ZERO], [c], [1.0]).denoise([1.0, 2.0, 3.0], 0.5),
    ),
    "log_l2": (
        "cov",
        lambda c: memorisation.log_l2_distance(ZERO, c, memorisation.kernel_density(POINTS)),
    ),
    "gap": (
        "cov",
        lambda c: memorisation.memorisation_gap(
            ZERO, c, memorisation.kernel_density(POINTS), memorisation.gaussian_reference(ZERO, 1.0)
        ),
    ),
    "likelihood truth": (
        "true_cov",
        lambda c: memorisation.likelihood_gap(ZERO, THREE, POINTS, ZERO, c),
    ),
}


@pytest.mark.parametrize("entry", COVARIANCES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_covariance_below_zero_by_rounding_is_a_singular_one(entry, dtype):
    name, call = COVARIANCES[entry]
    unit = np.finfo(dtype).eps
    zero = call(np.diag(np.array([2.0, 1.0, 0.0], dtype)))
    for below in (1e-17, 2.9 * 4 * unit):
        got = call(np.diag(np.array([2.0, 1.0, -below], dtype)))
        assert_allclose(got, zero, rtol=0, atol=2e3 * unit)
    for below in (3.1 * 4 * unit, 1e-3):
        with pytest.raises(ValueError, match=f"`{re.escape(name)}` has negative") as told:
            call(np.diag(np.array([2.0, 1.0, -below], dtype)))
        assert f"down to {-np.asarray(below, dtype):.3g}" in str(told.value)
        assert np.dtype(dtype).name in str(told.value) and "Set them to zero" in str(told.value)


@pytest.mark.parametrize("function", [memorisation.kl_gap, memorisation.likelihood_gap])
def test_laws_that_must_be_positive_definite(function):
    for lowest in (0.0, -1e-17, 1e-17):
        cov = np.array([[1.0, 1.0 - lowest], [1.0 - lowest, 1.0]])
        with pytest.raises(ValueError, match="`cov` must be positive definite"):
            function(ZERO[:2], cov, POINTS[:, :2], ZERO[:2], THREE[:2, :2])
    with pytest.raises(ValueError, match="`true_cov` must be positive definite"):
        memorisation.kl_gap(ZERO, THREE, POINTS, ZERO, 0 * THREE)
    doubled = POINTS[:, [0, 1, 1]]
    with pytest.raises(ValueError, match=r"`points` .* singular"):
        memorisation.kl_gap(ZERO, THREE, doubled, ZERO, THREE)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [2, 3, 6, 40])
def test_d_points_in_d_dimensions_give_one_answer(dtype, dim):
    eye, zero = np.eye(dim), np.zeros(dim)
    for seed in range(40):
        cov = rank_deficient(dtype, seed, dim)
        assert _check.is_singular("cov", cov)
        assert gaussians.kl_gaussian(zero, eye, zero, cov) == np.inf
        assert gaussians.entropy(cov) == -np.inf
        assert gaussians.hellinger_squared(zero, cov, zero, eye) == 1.0
        with pytest.raises(ValueError, match="both singular"):
            gaussians.kl_gaussian(zero, cov, zero, cov)
        AffineDenoiser.from_moments(zero, cov)
        GaussianMixtureDenoiser([zero], [cov], [1.0])
        assert gaussians.wasserstein2_squared(zero, cov, zero, eye) < np.inf


def test_single_precision_of_a_regular_covariance_is_not_taken_for_singular():
    # Like images: its smallest variance is below the dimension times the precision times the
    # largest, but well above the errors.
    basis = np.linalg.qr(rng().standard_normal((300, 300)))[0]
    variances = spectra.power_law(300, 2.0)
    exact = basis * variances @ basis.T
    exact = 0.5 * (exact + exact.T)
    zero, eye = np.zeros(300), np.eye(300)
    single = gaussians.kl_gaussian(zero, eye, zero, exact.astype(np.float32))
    assert_allclose(single, gaussians.kl_gaussian(zero, eye, zero, exact), rtol=0.05)


def test_a_matrix_is_judged_by_its_own_precision():
    cov = np.array([[1.0, 0.0], [0.0, -1e-8]])
    assert _check.is_singular("cov", cov.astype(np.float32))
    clipped = _check.as_covariance("cov", cov.astype(np.float32))
    assert_allclose(_check.as_covariance("cov", clipped), np.diag([1.0, 0.0]), atol=1e-15)
    with pytest.raises(ValueError, match="`cov` has negative eigenvalues, down to -1e-08"):
        _check.is_singular("cov", cov)
    # Units do not make a covariance singular, in single precision as in double.
    assert not _check.is_singular("cov", np.diag([1.0, 1e-30]).astype(np.float32))
    # An asymmetry of single precision is rounding in single precision only.
    skew = np.array([[1.0, 0.5], [0.5 + 1e-7, 1.0]])
    assert _check.as_covariance("cov", skew.astype(np.float32)).shape == (2, 2)
    with pytest.raises(ValueError, match="symmetric"):
        _check.as_covariance("cov", skew)


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e300])
def test_covariances_at_both_ends_of_the_numbers(tiny):
    np.testing.assert_array_equal(_check.as_covariance("cov", tiny * np.eye(2)), tiny * np.eye(2))
    assert not _check.is_singular("cov", np.diag([1.0, tiny]))
    assert _check.is_singular("cov", np.diag([tiny, 0.0]))
