"""What a trained linear denoiser and a population say about each direction."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from lindiff import _check
from lindiff._affine import AffineDenoiser
from lindiff._noise_schedule import NoiseSchedule, alpha_bar_to_sigma


@dataclass(frozen=True, eq=False)
class LossModes:
    r"""Empirical and population moments along the directions of a training set.

    .. math:: \hat\lambda_\nu,\qquad m_\nu=u_\nu^\top\Sigma u_\nu,\qquad
              \delta_\nu^2=\big(u_\nu^\top(\mu-\mu_0)\big)^2

    Implements eq. (7.9).

    Parameters
    ----------
    eigenvalues : array_like, shape (k,)
        Variances :math:`\hat\lambda_\nu\ge0` of the training set.
    variances : float or array_like, shape (k,)
        Variances :math:`m_\nu\ge0` of the population along the same directions.
    shifts : float or array_like, shape (k,)
        Squared distances :math:`\delta_\nu^2` of the two means along them.
    multiplicities : float or array_like, shape (k,)
        How many directions share the mode, > 0; need not be whole. In a mode of several
        directions `variances` and `shifts` are means over them.

    Raises
    ------
    ValueError
        If shapes disagree, an entry is negative, or a multiplicity is not positive.

    Notes
    -----
    These numbers are all that the losses of Merger and Goldt 2025 (MG-6, MG-9, MG-10) need.
    Directions without training points, of which N < d leaves at least d - N + 1, share one
    mode of eigenvalue 0. Data may have any unit from 1e-150 to 1e150: the relative error of a
    moment is 1e-12 of the largest one, and that of an eigenvalue 1e-15 of the largest singular
    value over its own.

    Examples
    --------
    >>> modes = LossModes.from_data([[-1.0, 0.0], [1.0, 0.0]], [0.0, 0.0], [3.0, 2.0])
    >>> modes.eigenvalues, modes.variances
    (array([1., 0.]), array([3., 2.]))
    """

    eigenvalues: np.ndarray
    variances: np.ndarray
    shifts: np.ndarray = 0.0
    multiplicities: np.ndarray = 1.0

    def __post_init__(self):
        eigenvalues = _check.as_spectrum("eigenvalues", self.eigenvalues)
        if eigenvalues.ndim != 1:
            raise ValueError(f"`eigenvalues` must have 1 axis, got shape {eigenvalues.shape}")
        _store(self, "eigenvalues", eigenvalues)
        for name in ("variances", "shifts", "multiplicities"):
            check = _check.positive if name == "multiplicities" else _check.non_negative
            value = np.asarray(check(name, getattr(self, name)))
            if value.shape not in ((), eigenvalues.shape):
                raise ValueError(f"`{name}` must be a number or have shape {eigenvalues.shape}")
            _store(self, name, np.broadcast_to(value, eigenvalues.shape))
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.multiplicities @ (self.eigenvalues + self.variances + self.shifts)
        if not np.isfinite(total):
            raise ValueError(
                "`eigenvalues`, `variances` and `shifts` add up to more than the largest float; "
                "measure the data in a larger unit"
            )

    @property
    def dimension(self):
        """Number of directions d, the sum of the multiplicities."""
        return float(self.multiplicities.sum())

    @property
    def second_moments(self):
        r"""Mean square :math:`m_\nu+\delta_\nu^2` of test points about the training mean."""
        return self.variances + self.shifts

    @classmethod
    def from_data(cls, data, mean, cov):
        r"""Measure a training set against a known population.

        Parameters
        ----------
        data : array_like, shape (N, d)
            Training points; they are centred at their own mean.
        mean : array_like, shape (d,)
            Population mean.
        cov : array_like, shape (d, d) or (d,)
            Population covariance, or the variances of independent coordinates.

        Notes
        -----
        Cost :math:`O(Nd\min(N,d))`, from the singular values of the centred data.

        Examples
        --------
        >>> LossModes.from_data([[1.0], [3.0]], [0.0], [5.0]).shifts
        array([4.])
        """
        return cls.from_denoiser(AffineDenoiser.from_data(data), mean, cov)

    @classmethod
    def from_reference(cls, data, reference):
        r"""Measure a training set against a second, larger set of points.

        Parameters
        ----------
        data : array_like, shape (N, d)
            Training points.
        reference : array_like, shape (M, d)
            Points that stand for the population, by their mean and covariance (over M).

        Notes
        -----
        The variance outside the training directions is a sum of squares here, so it keeps
        its digits however small it is.

        Examples
        --------
        >>> LossModes.from_reference([[-1.0], [1.0]], [[-2.0], [2.0]]).variances
        array([4.])
        """
        reference = _check.as_array("reference", reference, ndim=2)
        if 0 in reference.shape:
            raise ValueError(f"`reference` is empty, shape {reference.shape}; pass (M, d)")
        mean = reference.mean(axis=0)
        root = (reference - mean) / np.sqrt(len(reference))
        denoiser = AffineDenoiser.from_data(data)
        if root.shape[1] != denoiser.dimension:
            raise ValueError(f"`reference` must have {denoiser.dimension} columns like `data`")
        along = root @ denoiser.eigenvectors
        left = root - along @ denoiser.eigenvectors.T
        return _assemble(cls, denoiser, mean, np.sum(along**2, axis=0), np.sum(left**2))

    @classmethod
    def from_denoiser(cls, denoiser, mean, cov):
        r"""Measure the training set behind a fitted denoiser against a known population.

        Parameters
        ----------
        denoiser : AffineDenoiser
            Its floor is not part of the modes: pass it to the losses.
        mean, cov : array_like
            Population moments as in `from_data`.

        Notes
        -----
        The variance outside the training directions is
        :math:`\operatorname{tr}\Sigma-\sum_\nu m_\nu`, with an error of :math:`10^{-16}` of
        the trace if `cov` is a matrix; for independent coordinates it keeps its digits.

        Examples
        --------
        >>> fitted = AffineDenoiser.from_moments([0.0], [[2.0]])
        >>> LossModes.from_denoiser(fitted, [0.0], [[3.0]]).variances
        array([3.])
        """
        mean, cov = population(denoiser, mean, cov)
        vectors = denoiser.eigenvectors
        if cov.ndim == 2:
            variances = np.einsum("ij,ij->j", vectors, cov @ vectors)
            rest = np.trace(cov) - variances.sum()
        else:
            root = np.sqrt(cov)[:, None] * vectors
            variances = np.einsum("ij,ij->j", root, root)
            rest = 0.0
            if denoiser.eigenvalues.size < cov.size:
                rest = np.sum((np.diag(np.sqrt(cov)) - vectors @ root.T) ** 2)
        return _assemble(cls, denoiser, mean, np.maximum(variances, 0.0), rest)

    @classmethod
    def isotropic(cls, dimension, n_samples, *, variance=1.0, estimated_mean=False, n_nodes=512):
        r"""Average training set of many points of a white population.

        Parameters
        ----------
        dimension, n_samples : int
            d and N; only the ratio d / N shapes the spectrum.
        variance : float
            Population variance of each coordinate, > 0.
        estimated_mean : bool
            Whether the mean of the data is estimated too: N - 1 degrees of freedom are left for
            the covariance, and the squared error of the mean is on average the variance over N.
        n_nodes : int
            Nodes of the quadrature.

        Returns
        -------
        LossModes
            Nodes as eigenvalues, weights times d as multiplicities; the mode of eigenvalue 0
            comes last if fewer than d degrees of freedom are left.

        Notes
        -----
        Gauss quadrature for the Marcenko-Pastur law, whose recurrence coefficients are
        constant. For losses at :math:`z=\sigma^2+c` (in units of the variance) it has
        converged to rounding for `n_nodes` above :math:`18/\sqrt z` at N = d, the worst
        case, for N from 1 to 1e9 and beyond. The limit leaves out corrections of relative
        order 1/d. Merger and Goldt 2025, MG-MP, MG-F2d.

        Examples
        --------
        >>> modes = LossModes.isotropic(4, 2, n_nodes=3)
        >>> float(modes.multiplicities[-1]), round(modes.dimension, 12)
        (2.0, 4.0)
        """
        d, n = (
            float(_check.as_array(name, _check.positive_int(name, value)))
            for name, value in (("dimension", dimension), ("n_samples", n_samples))
        )
        scale = float(_check.as_array("variance", _check.positive("variance", variance), ndim=0))
        degrees, shift = (n - 1.0, scale / n) if estimated_mean else (n, 0.0)
        size = _check.positive_int("n_nodes", n_nodes)
        if degrees == 0:
            return cls([0.0], scale, shift, d)
        # Non-zero eigenvalues of the smaller of the two Gram matrices, as a law with mass 1.
        rank, larger = min(d, degrees), max(d, degrees)
        ratio = rank / larger
        diagonal = np.full(size, 1.0 + ratio)
        diagonal[0] = 1.0
        nodes, vectors = linalg.eigh_tridiagonal(diagonal, np.full(size - 1, np.sqrt(ratio)))
        weights = rank * vectors[0] ** 2
        with np.errstate(over="ignore"):
            nodes = np.maximum(nodes, 0.0) * scale * (larger / n)
        used = weights > 0
        nodes, weights = nodes[used][::-1], weights[used][::-1]
        if degrees < d:
            nodes, weights = np.append(nodes, 0.0), np.append(weights, d - degrees)
        return cls(nodes, scale, shift, weights)


def noise_to_signal(alpha_bar):
    r"""Return :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha` of levels or of a schedule."""
    schedule = isinstance(alpha_bar, NoiseSchedule)
    with np.errstate(over="ignore"):
        square = np.square(alpha_bar.sigma if schedule else alpha_bar_to_sigma(alpha_bar))
    if not np.all(np.isfinite(square)):
        raise ValueError("`alpha_bar` is so small that 1 / alpha_bar overflows; use a larger one")
    return square


def check_modes(modes):
    """Return `modes` if it is a LossModes."""
    if not isinstance(modes, LossModes):
        raise TypeError("`modes` must be a LossModes; see LossModes.from_data")
    return modes


def levels(eigenvalues, alpha_bar, floor):
    """Return the broadcast noise-to-signal ratios and floors of valid levels."""
    ratio, floor = np.broadcast_arrays(
        noise_to_signal(alpha_bar), _check.non_negative("floor", floor)
    )
    with np.errstate(over="ignore"):
        whole = ratio + floor + np.max(eigenvalues)
    if not np.all(np.isfinite(whole)):
        raise ValueError(
            "`floor`, 1 / alpha_bar and the variances add up to more than the largest float; "
            "measure the data in a larger unit"
        )
    if np.min(eigenvalues) == 0 and np.any(ratio + floor == 0):
        raise ValueError(
            "`alpha_bar` must be below 1 where a variance is 0; pass a smaller one or a floor"
        )
    return ratio, floor


def population(denoiser, mean, cov):
    """Check population moments against a denoiser; `cov` stays a vector if it is one."""
    if not isinstance(denoiser, AffineDenoiser):
        raise TypeError("`denoiser` must be an AffineDenoiser")
    return moments(mean, cov, denoiser.dimension)


def moments(mean, cov, dimension):
    """Check a mean and a covariance, given as a matrix or as variances, of one dimension."""
    mean = _check.as_array("mean", mean, ndim=1)
    cov = _check.as_array("cov", cov, ndim=(1, 2))
    cov = _check.as_spectrum("cov", cov) if cov.ndim == 1 else _check.as_covariance("cov", cov)
    for name, value in (("mean", mean), ("cov", cov)):
        if len(value) != dimension:
            raise ValueError(f"`{name}` must have {dimension} rows like the data, got {len(value)}")
    return mean, cov


def _assemble(cls, denoiser, mean, variances, rest):
    vectors, eigenvalues = denoiser.eigenvectors, denoiser.eigenvalues
    shift = mean - denoiser.mean
    along = shift @ vectors
    null = denoiser.dimension - eigenvalues.size
    if null == 0:
        return cls(eigenvalues, variances, along**2)
    outside = np.sum((shift - vectors @ along) ** 2)
    return cls(
        np.append(eigenvalues, 0.0),
        np.append(variances, max(float(rest), 0.0) / null),
        np.append(along**2, outside / null),
        np.append(np.ones(eigenvalues.size), null),
    )


def _store(target, name, array):
    array = np.array(array)
    array.setflags(write=False)
    object.__setattr__(target, name, array)
