"""Factorisations and transforms, by the counts of their usual algorithms; they go to the vector work.

Counts of factorisations are those of LAPACK's working note 41 to the leading term; iterative ones (eigenvalues,
singular values) have no count and go to the ledger.
"""

from __future__ import annotations

from math import log2, prod
from typing import Any

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.tracing.record import Work


def _matrices(x: Any) -> tuple[int, int, int]:
    """How many, rows, columns."""
    return prod(x.shape[:-2]), x.shape[-2], x.shape[-1]


@formula(aten.linalg_cholesky_ex, aten.cholesky)
def _cholesky(call: Call) -> Work:
    count, size, _ = _matrices(call.args[0])
    return Work(vector=count * size * (2 * size * size + 3 * size + 1) // 6)


@formula(aten.linalg_lu_factor_ex, aten._linalg_det, aten._linalg_slogdet, aten.linalg_lu)
def _lu(call: Call) -> Work:
    count, rows, columns = _matrices(call.args[0])
    least = min(rows, columns)
    each = rows * columns * least - (rows + columns) * least**2 // 2 + least**3 // 3
    return Work(vector=count * (2 * each + least))


@formula(aten.linalg_inv_ex, aten.cholesky_inverse)
def _inverse(call: Call) -> Work:
    count, size, _ = _matrices(call.args[0])
    return Work(vector=count * 2 * size**3)


@formula(aten._linalg_solve_ex)
def _solve(call: Call) -> Work:
    count, size, _ = _matrices(call["A"])
    return Work(vector=count * 2 * size**3 // 3 + 2 * size * call.out[0].numel())


@formula(aten.linalg_solve_triangular, aten.triangular_solve)
def _triangular(call: Call) -> Work:
    right = call["B"] if "B" in call else call["self"]
    matrix = call["self"] if "B" in call else call["A"]
    return Work(vector=matrix.shape[-1] * right.numel())


@formula(aten.linalg_lu_solve, aten.cholesky_solve)
def _two_triangular(call: Call) -> Work:
    matrix, right = (call["LU"], call["B"]) if "LU" in call else (call["input2"], call["self"])
    return Work(vector=2 * matrix.shape[-1] * right.numel())


@formula(aten.linalg_qr, aten.geqrf)
def _qr(call: Call) -> Work:
    """The factors; and the orthogonal matrix itself, which takes as many again."""
    count, rows, columns = _matrices(call.args[0])
    long, short = max(rows, columns), min(rows, columns)
    factors = 2 * long * short**2 - 2 * short**3 // 3
    return Work(vector=count * factors * (2 if "mode" in call and call["mode"] != "r" else 1))


@formula(aten.linalg_householder_product)
def _reflections(call: Call) -> Work:
    """The first columns of a product of as many reflections as there are factors."""
    count, rows, columns = _matrices(call.args[0])
    given = call["tau"].shape[-1]
    return Work(vector=count * (4 * rows * columns * given - 2 * (rows + columns) * given**2 + 4 * given**3 // 3))


@formula(aten._fft_r2c, aten._fft_c2c, aten._fft_c2r)
def _fourier(call: Call) -> Work:
    """5 n log2 n for n complex numbers, half of it where one side is real."""
    x = call.args[0] if call.args[0].numel() >= call.out.numel() else call.out
    size = prod(x.shape[d] for d in call["dim"])
    every = 5 * x.numel() * log2(max(size, 1))
    return Work(vector=round(every if call.args[0].is_complex() and call.out.is_complex() else every / 2))
