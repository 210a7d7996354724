"""Denoisers on which the diagnostics are tested: a mixture, its optimum, its Gaussian model."""

import numpy as np
import pytest

from lindiff.denoisers import GaussianMixtureDenoiser

DIMENSION = 8


@pytest.fixture(scope="session")
def mixture():
    rng = np.random.default_rng(0)
    means = 2 * rng.standard_normal((3, DIMENSION))
    roots = 0.3 * rng.standard_normal((3, DIMENSION, DIMENSION))
    covs = roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(DIMENSION)
    return GaussianMixtureDenoiser(means, covs, [0.5, 0.3, 0.2])


@pytest.fixture(scope="session")
def optimal(mixture):
    torch = pytest.importorskip("torch")
    from lindiff.nn.closed_forms import MixtureDenoiser

    return MixtureDenoiser.from_numpy(mixture, dtype=torch.float64)


@pytest.fixture(scope="session")
def gaussian(mixture):
    torch = pytest.importorskip("torch")
    from lindiff.nn.closed_forms import GaussianDenoiser

    values, vectors = np.linalg.eigh(mixture.covariance)
    parts = (mixture.mean, values[::-1].copy(), vectors[:, ::-1].copy())
    return GaussianDenoiser(*(torch.from_numpy(part) for part in parts))
