"""How good predicted probabilities are: discrimination, calibration, overall error, clinical use.

Everywhere `sick` says who has the disease, and `p` is the predicted probability that somebody has it.
"""

import numpy as np


def auroc(sick, p):
    """Return the area under the receiver operating characteristic.

    It is the probability that a sick subject has a higher prediction than a healthy one, ties counted half
    (the Mann-Whitney statistic; Hanley & McNeil, Radiology 143, 1982): the mean of [pᵢ > pⱼ] + ½ [pᵢ = pⱼ]
    over all sick i and healthy j.
    """
    return float(_wins(sick, p).mean())


def auroc_interval(sick, p, *, level=0.95, replicates=2000, seed=0):
    """Return a percentile interval of the AUROC from resampled subjects.

    The sick and the healthy are drawn with replacement, each among themselves (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13; stratified as in Carpenter & Bithell, Statistics in
    Medicine 19, 2000).
    """
    wins = _wins(sick, p)
    random = np.random.default_rng(seed)
    rows = random.integers(wins.shape[0], size=(replicates, wins.shape[0], 1))
    columns = random.integers(wins.shape[1], size=(replicates, 1, wins.shape[1]))
    found = wins[rows, columns].mean(axis=(1, 2))
    return tuple(float(q) for q in np.quantile(found, [(1 - level) / 2, (1 + level) / 2]))


def brier(sick, p):
    """Return the mean of (p - y)², y being 1 for the sick (Brier, Monthly Weather Review 78, 1950)."""
    return float(np.mean((np.asarray(p) - sick) ** 2))


def calibration(sick, p):
    """Return slope, intercept and O:E of the calibration.

    The slope is b in logit P(sick) = a + b logit(p) (Cox, Biometrika 45, 1958): below 1, predictions are too
    extreme. The intercept is a where b = 1, "calibration in the large": below 0, they are too high. O:E is
    the number of the sick by the sum of p (Van Calster et al., BMC Medicine 17, 2019).
    """
    x = logit(p)
    (_, slope) = fit_logistic(np.column_stack([np.ones_like(x), x]), sick)
    (intercept,) = fit_logistic(np.ones((len(x), 1)), sick, offset=x)
    return {"slope": slope, "intercept": intercept, "o_e": float(np.sum(sick) / np.sum(p))}


def net_benefit(sick, p, threshold):
    """Return the net benefit of treating whoever has at least this probability.

    TP/n - FP/n · t/(1 - t) (Vickers & Elkin, Medical Decision Making 26, 2006): true positives per subject,
    less the false ones at the price that the threshold t itself names.
    """
    sick, treated = np.asarray(sick, dtype=bool), np.asarray(p) >= threshold
    right, wrong = np.mean(treated & sick), np.mean(treated & ~sick)
    return float(right - wrong * threshold / (1 - threshold))


def logit(p):
    """Return the logarithm of the odds, with probabilities of 0 and 1 moved inside by a millionth."""
    inside = np.clip(np.asarray(p, dtype=float), 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


def fit_logistic(x, y, offset=0.0):
    """Return the coefficients of a logistic regression, by Newton's method (McCullagh & Nelder, 1989).

    Raises:
        ValueError: If there is no finite solution, as where a threshold tells the groups apart without error.
    """
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(x @ beta + offset, -500, 500)))
        information = x.T @ (x * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(information) > 1e12:
            break
        step = np.linalg.solve(information, x.T @ (y - fitted))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return tuple(float(b) for b in beta)
    raise ValueError("the logistic fit does not converge: the predictions separate the groups without error")


def _wins(sick, p):
    """Return 1 where a sick subject (row) has a higher prediction than a healthy one (column), ½ for ties."""
    sick, p = np.asarray(sick, dtype=bool), np.asarray(p)
    difference = p[sick][:, None] - p[~sick]
    return (difference > 0) + 0.5 * (difference == 0)
