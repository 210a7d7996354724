"""One set of noise levels, and the conversion between its two coordinates."""

from dataclasses import dataclass

import numpy as np

from lindiff import _check


def alpha_bar_to_sigma(alpha_bar):
    r"""Turn a VP level into a VE level.

    .. math:: \sigma=\sqrt{(1-\bar\alpha)/\bar\alpha}

    Implements eq. (2.14).

    Parameters
    ----------
    alpha_bar : float or array_like
        Squared signal factor, in (0, 1].

    Returns
    -------
    float or ndarray
        Noise level :math:`\sigma\ge0`, same shape.

    Raises
    ------
    ValueError
        If `alpha_bar` leaves (0, 1].

    Notes
    -----
    Exact to rounding for the float that is passed. Near 1 that float itself says little
    about :math:`1-\bar\alpha`; keep a `NoiseSchedule` there. Merger and Goldt 2025, MG-1.
    Range: from the smallest float to 1.

    Examples
    --------
    >>> alpha_bar_to_sigma(0.2)
    2.0
    """
    level = _check.alpha_bar(alpha_bar)
    result = np.sqrt(1.0 - level) / np.sqrt(level)
    return float(result) if np.ndim(result) == 0 else result


def sigma_to_alpha_bar(sigma):
    r"""Turn a VE level into a VP level.

    .. math:: \bar\alpha=\frac1{1+\sigma^2}

    Implements eq. (2.14).

    Parameters
    ----------
    sigma : float or array_like
        Noise level, >= 0.

    Returns
    -------
    float or ndarray
        Squared signal factor, same shape. It rounds to 1 for :math:`\sigma<10^{-8}`; then
        use `NoiseSchedule.noise_var`, which keeps :math:`1-\bar\alpha`.

    Raises
    ------
    ValueError
        If `sigma` is negative.

    Notes
    -----
    Range: all floats; 0 above 1e162.

    Examples
    --------
    >>> sigma_to_alpha_bar([0.0, 2.0])
    array([1. , 0.2])
    """
    level = _check.non_negative("sigma", sigma)
    result = np.square(1.0 / np.hypot(1.0, level))
    return float(result) if np.ndim(result) == 0 else result


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    r"""Noise levels in the order of increasing noise.

    .. math:: x = s\,x_0 + n\,\epsilon,\qquad \epsilon\sim\mathcal N(0,I)

    Implements eq. (2.3), (2.14).

    Parameters
    ----------
    signal : array_like, shape (T,)
        Signal factors :math:`s>0`; kept as a read-only copy.
    noise : array_like, shape (T,)
        Noise factors :math:`n\ge0`, likewise; :math:`\sigma=n/s` must increase strictly.

    Raises
    ------
    ValueError
        If the shapes differ, a factor is out of range, or the levels are not increasing.

    Notes
    -----
    `alpha_bar`, `noise_var` and `beta` describe the VP version of the levels, and so do
    not depend on the coordinates. Merger and Goldt 2025, MG-1.
    Range: every level that is a float, all properties to 1e-14; powers below the smallest float
    are 0. `as_vp` cannot tell levels apart that differ by less than a relative 1e-15.

    Examples
    --------
    >>> schedule = NoiseSchedule([0.8, 0.6], [0.6, 0.8])
    >>> schedule.sigma.round(4), schedule.as_ve().alpha_bar.round(4)
    (array([0.75  , 1.3333]), array([0.64, 0.36]))
    """

    signal: np.ndarray
    noise: np.ndarray

    def __post_init__(self):
        signal = _check.as_array("signal", self.signal, ndim=1)
        noise = _check.as_array("noise", self.noise, ndim=1)
        if signal.shape != noise.shape or signal.size == 0:
            raise ValueError(
                f"`signal` and `noise` must have one common length >= 1, "
                f"got {signal.size} and {noise.size}"
            )
        _check.positive("signal", signal)
        _check.non_negative("noise", noise)
        for name, value in (("signal", signal), ("noise", noise)):
            value = value.copy()
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if not np.all(np.isfinite(self.sigma)):
            raise ValueError("`noise` / `signal` overflows; drop the noisiest levels")
        if np.any(np.diff(self.sigma) <= 0):
            raise ValueError(
                "levels must be ordered by strictly increasing noise / signal; "
                "sort them and drop repeated ones"
            )

    def __len__(self):
        return self.signal.size

    @property
    def n_levels(self):
        """Number of levels, T."""
        return len(self)

    @property
    def sigma(self):
        r"""VE noise level :math:`\sigma=n/s`."""
        with np.errstate(over="ignore"):
            return self.noise / self.signal

    @property
    def alpha_bar(self):
        r"""VP signal power :math:`\bar\alpha=1/(1+\sigma^2)`."""
        return np.square(1.0 / np.hypot(1.0, self.sigma))

    @property
    def noise_var(self):
        r"""VP noise power :math:`1-\bar\alpha=\sigma^2/(1+\sigma^2)`, without cancellation."""
        return np.square(self.sigma / np.hypot(1.0, self.sigma))

    @property
    def beta(self):
        r"""VP noise added by each step, :math:`\beta_t=1-\bar\alpha_t/\bar\alpha_{t-1}`.

        Written as :math:`(\sigma_t^2-\sigma_{t-1}^2)/(1+\sigma_t^2)` with
        :math:`\sigma_0=0`. Implements eq. (2.1).
        """
        sigma = self.sigma
        before = np.concatenate([[0.0], sigma[:-1]])
        scale = np.hypot(1.0, sigma)
        # The sum of two levels may exceed the largest float, half of it cannot.
        return ((sigma - before) / scale) * ((0.5 * sigma + 0.5 * before) / (0.5 * scale))

    @property
    def time(self):
        r"""Time of the Ornstein-Uhlenbeck process, :math:`t=\tfrac12\ln(1+\sigma^2)`.

        Levels are made from it by `lindiff.schedules.ornstein_uhlenbeck`; it equals
        :math:`-\tfrac12\ln\bar\alpha`.
        """
        sigma = self.sigma
        # The square of a huge sigma would overflow; there the 1 is of no account.
        short = np.log1p(np.square(np.minimum(sigma, 1e100))) / 2.0
        return np.where(sigma < 1e100, short, np.log(np.maximum(sigma, 1e100)))

    def as_vp(self):
        r"""Return the same levels with :math:`s^2+n^2=1`."""
        scale = np.hypot(1.0, self.sigma)
        return NoiseSchedule(1.0 / scale, self.sigma / scale)

    def as_ve(self):
        r"""Return the same levels with :math:`s=1`."""
        return NoiseSchedule(np.ones_like(self.signal), self.sigma)

    def thin(self, n_levels):
        r"""Return `n_levels` evenly spaced ones of the levels, the noisiest among them.

        .. math:: t_k=\mathrm{round}\big(kT/K\big),\qquad k=1,\dots,K

        Parameters
        ----------
        n_levels : int
            K, from 1 to T.

        Returns
        -------
        NoiseSchedule

        Examples
        --------
        >>> NoiseSchedule(np.ones(10), np.arange(1.0, 11.0)).thin(4).sigma
        array([ 3.,  5.,  8., 10.])
        """
        n_levels = _check.positive_int("n_levels", n_levels)
        if n_levels > len(self):
            raise ValueError(f"`n_levels` must be at most the number of levels, {len(self)}")
        # Halves round up, in integers, so that equal gaps stay equal.
        steps = np.arange(1, n_levels + 1) * (2 * len(self)) + n_levels
        return self.subset(steps // (2 * n_levels) - 1)

    def subset(self, indices):
        """Return the levels at increasing `indices` (integers, mask or slice)."""
        if not isinstance(indices, slice):
            indices = np.asarray(indices)
            if indices.size == 0:
                raise ValueError("`indices` is empty; keep at least one level")
            if indices.ndim != 1 or indices.dtype.kind not in "biu":
                raise TypeError("`indices` must be a list of integers, a mask or a slice")
        return NoiseSchedule(self.signal[indices], self.noise[indices])
