#!/usr/bin/env python3
"""Writes the constants of repops/src/scalar, generated/tables.rs and generated/double_tables.rs, and those of the
kernels' shorter ways to the bits of exp and erf, kernels/src/cpu/lane/quick/.

Polynomials are least-squares fits at Chebyshev nodes in 400-bit arithmetic, which is within a
small factor of the best possible; coefficients are rounded to binary64 one after the
other, the remaining ones being refitted. Each polynomial's error is printed. Needs mpmath.

    python3 tools/fit/fit.py            # writes the files
    python3 tools/fit/fit.py --check    # fails if a file differs
"""

import pathlib
import struct
import sys

from mpmath import mp, mpf

mp.prec = 400
ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "repops/src/scalar/generated"


def rn(x):
    """Rounds to binary64, ties to even."""
    return mpf(float(mpf(x)))


def rn32(x):
    """Rounds to binary32, ties to even; by way of binary64, which moves no constant here."""
    return mpf(struct.unpack("<f", struct.pack("<f", float(mpf(x))))[0])


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", float(x)))[0]


def from_bits(b):
    return struct.unpack("<d", struct.pack("<Q", b & (2**64 - 1)))[0]


def chebyshev(a, b, n):
    return [(a + b) / 2 + (b - a) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]


def polynomial(f, a, b, powers, relative_to, name, rounders=None):
    """Coefficients c with sum c_i t^powers_i ~ f(t) on [a, b].

    Errors are shown relative to `relative_to(t)`. `rounders`: how each coefficient is rounded; to binary64 by default.
    """
    powers = list(powers)
    rounders = rounders or [rn] * len(powers)
    known = []
    a, b = mpf(a), mpf(b)
    for done in range(len(powers)):
        rest = powers[done:]
        nodes = chebyshev(a, b, 4 * len(powers))
        matrix = mp.matrix(len(nodes), len(rest))
        side = mp.matrix(len(nodes), 1)
        for i, t in enumerate(nodes):
            weight = 1 / relative_to(t)
            for j, p in enumerate(rest):
                matrix[i, j] = weight * t**p
            side[i] = weight * (f(t) - sum(c * t**p for c, p in zip(known, powers)))
        square = matrix.T * matrix
        known.append(rounders[done](mp.lu_solve(square, matrix.T * side)[0]))
    worst = mpf(0)
    for i in range(400):
        t = a + (b - a) * (mpf(i) + mpf("0.37")) / 400
        error = abs((sum(c * t**p for c, p in zip(known, powers)) - f(t)) / relative_to(t))
        worst = max(worst, error)
    print(f"{name}: degree {powers[-1]}, error 2^{float(mp.log(worst, 2)):.1f}")
    return known


def table(lines, name, values, doc):
    values = [repr(float(v)) for v in values]
    lines.append(f"/// {doc}")
    lines.append(f"pub static {name}: [f64; {len(values)}] = [")
    lines.extend(f"    {v}," for v in values)
    lines.append("];")


def table32(lines, name, values, doc):
    """Values that binary32 holds: their shortest decimals in binary64 read back as them."""
    values = [repr(float(v)) for v in values]
    lines.append(f"/// {doc}")
    lines.append(f"pub(super) static {name}: [f32; {len(values)}] = [")
    lines.extend(f"    {v}," for v in values)
    lines.append("];")


def constant(lines, name, value, doc):
    lines.append(f"/// {doc}")
    lines.append(f"pub const {name}: f64 = {float(value)!r};")


def coefficients(lines, name, values, doc):
    values = [repr(float(v)) for v in values]
    lines.append(f"/// {doc}")
    lines.append(f"pub const {name}: [f64; {len(values)}] = [")
    lines.extend(f"    {v}," for v in values)
    lines.append("];")


def truncated(x, keep):
    """x cut to `keep` significant bits, towards zero."""
    m, e = mp.frexp(x)
    return mp.ldexp(mp.floor(abs(m) * 2**keep), e - keep) * mp.sign(m)


def exponentials(out):
    ln2 = mp.log(2)
    hi = truncated(ln2 / 16, 38)
    constant(out, "LN2_16_HI", hi, "ln 2 / 16 to 38 bits; its product with a 14-bit integer is exact.")
    constant(out, "LN2_16_LO", rn(ln2 / 16 - hi), "ln 2 / 16 - LN2_16_HI.")
    constant(out, "INV_LN2_16", rn(16 / ln2), "16 / ln 2.")
    table(out, "EXP2_16_STEPPED", [from_bits(bits(mpf(2) ** (mpf(j) / 16)) - (j << 48)) for j in range(16)],
          "2^(j/16) with j * 2^48 taken from its bits, so that adding k * 2^48, k = 16 n + j, gives 2^(k/16).")
    t = [mpf(2) ** (mpf(j) / 16) for j in range(16)]
    table(out, "EXP2_16_HI", [rn(v) for v in t], "2^(j/16).")
    table(out, "EXP2_16_LO", [rn(v - rn(v)) for v in t], "2^(j/16) - EXP2_16_HI.")
    w = ln2 / 32 * mpf("1.0001")
    coefficients(out, "EXP_TAIL", polynomial(lambda r: (mp.expm1(r) - r) / r**2, -w, w, range(5),
                 lambda r: 1 / r**2, "exp"), "(e^r - 1 - r) / r^2 for |r| <= ln 2 / 32, absolutely.")
    coefficients(out, "EXPM1_TAIL", polynomial(lambda r: (mp.expm1(r) - r) / r**2, -w, w, range(6),
                 lambda r: 1 / r, "expm1"), "The same, relative to r.")
    w = mpf(1) / 32
    coefficients(out, "EXP2_TAIL", polynomial(lambda r: (mpf(2)**r - 1) / r, -w, w, range(7),
                 lambda r: 1 / r, "exp2"), "(2^r - 1) / r for |r| <= 1 / 32.")


LOG_OFFSET = 0x3FE6800000000000


def log_intervals():
    edges = [mpf(from_bits(LOG_OFFSET + (j << 48))) for j in range(17)]
    return list(zip(edges, edges[1:]))


def logarithms(out):
    cs = []
    low = high = mpf(0)
    for a, b in log_intervals():
        c = mpf(1) if a < 1 < b else mp.nint(2 / (a + b) * 256) / 256
        cs.append(c)
        low = min(low, a * c - 1)
        high = max(high, b * c - 1)
    print("log: r in", float(low), float(high))
    constant(out, "LN2", rn(mp.log(2)), "ln 2.")
    table(out, "LOG_C", cs, "About 1/m in the middle of the j-th interval, in at most 9 bits; 1 around m = 1.")
    table(out, "LOG_LN", [rn(-mp.log(c)) for c in cs], "-ln LOG_C.")
    table(out, "LOG_LOG2", [rn(-mp.log(c, 2)) for c in cs], "-log2 LOG_C.")
    coefficients(out, "LOG_TAIL", polynomial(lambda r: (mp.log1p(r) - r) / r**2, low, high, range(9),
                 lambda r: 1 / r, "log"), "(ln(1+r) - r) / r^2 for r of the intervals.")
    coefficients(out, "LOG2_TAIL", polynomial(lambda r: mp.log1p(r) / r / mp.log(2), low, high, range(11),
                 lambda r: mpf(1), "log2"), "log2(1+r) / r for r of the intervals.")


def error_function(out):
    h = mpf(33) / 128
    constant(out, "ERF_STEP", h, "Distance of the centres of the expansions of erf.")
    constant(out, "ERF_INV_STEP", rn(1 / h), "1 / ERF_STEP.")
    half = h / 2 * mpf("1.0001")
    degree = 11
    columns = [[] for _ in range(degree + 1)]
    for j in range(16):
        if j == 0:
            odd = polynomial(mp.erf, mpf(2) ** -70, half, range(1, 13, 2), mp.erf, "erf 0")
            p = [mpf(0)] * (degree + 1)
            for i, c in enumerate(odd):
                p[2 * i + 1] = c
        else:
            p = polynomial(lambda t: mp.erf(j * h + t), -half, half, range(degree + 1),
                           lambda t: mp.erf(j * h + t), f"erf {j}")
        for column, c in zip(columns, p):
            column.append(c)
    for i, column in enumerate(columns):
        table(out, f"ERF_{i}", column, f"Coefficients of t^{i} of erf(j * ERF_STEP + t).")


def quick_exponential(out, steps, bound):
    """2^(j/steps). What the numbers lack is less the bound of the error of what is made with them, so that the errors
    are not positive."""
    t = [mpf(2) ** (mpf(j) / steps) for j in range(steps)]
    shift = 23 - steps.bit_length() + 1
    bits32 = [struct.unpack("<I", struct.pack("<f", float(rn32(v))))[0] - (j << shift) for j, v in enumerate(t)]
    stepped = [struct.unpack("<f", struct.pack("<I", b))[0] for b in bits32]
    table32(out, "EXP_HIGH", stepped, f"2^(j/{steps}) with j * 2^{shift} taken from its bits, so that adding"
            f" k * 2^{shift}, k = {steps} n + j, gives 2^(k/{steps}).")
    table32(out, "EXP_REST", [rn32(v / rn32(v) - 1 - bound) for v in t],
            f"What 2^(j/{steps}) lacks, relative to it, less {bound}.")


def quick_error_function(out, steps, pairs, degree, bound):
    """The expansions of `error_function`, shorter: the first `pairs` coefficients as sums of two binary32, the others as
    one. As for the exponential, less the bound."""
    pair = lambda v: rn32(v) + rn32(v - rn32(v))
    h = mpf(33) / 8 / steps
    half = h / 2 * mpf("1.0001")
    columns = [[] for _ in range(degree + 1)]
    for j in range(steps):
        powers = range(degree + 1)
        if j == 0:
            # Even powers that are sums of two would not be small beside what is added to them.
            powers = [p for p in powers if p % 2 == 1 or p >= max(pairs, 4) and steps > 16]
        center = lambda t: mp.erf(j * h + t)
        found = polynomial(center, mpf(2) ** -70 if j == 0 else -half, half, powers, center,
                           f"quick erf {j}/{steps}", [pair if power < pairs else rn32 for power in powers])
        p = [mpf(0)] * (degree + 1)
        for power, c in zip(powers, found):
            p[power] = c
        for column, c in zip(columns, p):
            column.append(c)
    for i, column in enumerate(columns):
        doc = f"Coefficients of t^{i} of erf(j * ERF_STEP + t)."
        table32(out, f"ERF_{i}", [rn32(v) for v in column], doc)
        if i < pairs:
            table32(out, f"ERF_{i}_REST", [rn32(v - rn32(v) - bound * v) for v in column],
                    f"What ERF_{i} lacks, less {bound} of it.")


def quick_tables(steps, exp_bound, pairs, degree, erf_bound):
    return [lambda out: quick_exponential(out, steps, mpf(exp_bound)),
            lambda out: quick_error_function(out, steps, pairs, degree, mpf(erf_bound))]


def trigonometry(out):
    # Group i serves exponents 16 i .. 16 i + 15 (group 0 also the smaller ones). Bits of 2/pi from
    # 2^(25 - 16 i) up give multiples of 4 with such a number and are left out.
    two_over_pi = 2 / mp.pi
    columns = [[], [], []]
    for i in range(8):
        unit = mpf(2) ** (25 - 16 * i)
        rest = two_over_pi - mp.floor(two_over_pi / unit) * unit
        first = mp.floor(rest * 2**28 / unit) * unit / 2**28
        second = mp.floor((rest - first) * 2**81 / unit) * unit / 2**81
        third = rn(rest - first - second)
        assert rn(first) == first and rn(second) == second
        for column, v in zip(columns, (first, second, third)):
            column.append(v)
    table(out, "TWO_OVER_PI_0", columns[0], "Bits of 2/pi of weights 2^(24 - 16 i) to 2^(-3 - 16 i).")
    table(out, "TWO_OVER_PI_1", columns[1], "The 53 bits after those.")
    table(out, "TWO_OVER_PI_2", columns[2], "What follows, rounded.")
    constant(out, "PI_2_HI", rn(mp.pi / 2), "pi / 2.")
    constant(out, "PI_2_LO", rn(mp.pi / 2 - rn(mp.pi / 2)), "pi / 2 - PI_2_HI.")
    constant(out, "PI_HI", rn(mp.pi), "pi.")
    constant(out, "PI_LO", rn(mp.pi - rn(mp.pi)), "pi - PI_HI.")
    w = (mp.pi / 4 * mpf("1.0001")) ** 2
    tiny = mpf(2) ** -60
    coefficients(out, "SIN_TAIL", polynomial(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, tiny, w,
                 range(6), lambda z: 1 / z, "sin"), "(sin r - r) / r^3 in r^2 for |r| <= pi/4.")
    coefficients(out, "COS_TAIL", polynomial(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, tiny, w,
                 range(6), lambda z: 1 / z**2, "cos"), "(cos r - 1 + r^2/2) / r^4 in r^2 for |r| <= pi/4.")


def inverse_trigonometry(out):
    tiny = mpf(2) ** -60
    coefficients(out, "ASIN_TAIL", polynomial(lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, tiny,
                 mpf("0.2501"), range(12), lambda z: 1 / z, "asin"), "(asin s - s) / s^3 in s^2 for |s| <= 1/2.")
    cs, worst = [mpf(0)], mpf(1) / 8
    for j in range(1, 15):
        a = mpf(2) ** ((j - 1) // 2 - 3) * (mpf("1.5") if (j - 1) % 2 else 1)
        b = mpf(2) ** (j // 2 - 3) * (mpf("1.5") if j % 2 else 1)
        c = mp.tan((mp.atan(a) + mp.atan(b)) / 2)
        c = truncated(c, 12)
        cs.append(c)
        worst = max(worst, (b - c) / (1 + b * c), (c - a) / (1 + c * a))
    print("atan: |z| <=", float(worst))
    table(out, "ATAN_C", cs + [mpf(1)], "Tangent in the middle of the j-th interval, in 12 bits; the last is unused.")
    table(out, "ATAN_BASE", [rn(mp.atan(c)) for c in cs] + [rn(mp.pi / 2)], "atan ATAN_C; pi/2 for the last.")
    coefficients(out, "ATAN_TAIL", polynomial(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, tiny,
                 worst**2, range(6), lambda z: 1 / z, "atan"), "(atan z - z) / z^3 in z^2.")


def pair(x):
    hi = rn(x)
    return hi, rn(x - hi)


def pairs(lines, name, values, doc):
    lines.append(f"/// {doc}")
    lines.append(f"pub const {name}: [(f64, f64); {len(values)}] = [")
    lines.extend("    ({!r}, {!r}),".format(*map(float, pair(v))) for v in values)
    lines.append("];")


def pair_tables(lines, name, values, doc):
    table(lines, name + "_HI", [pair(v)[0] for v in values], doc)
    table(lines, name + "_LO", [pair(v)[1] for v in values], f"What {name}_HI leaves.")


def pair_constant(lines, name, value, doc):
    lines.append(f"/// {doc}")
    lines.append("pub const {}: (f64, f64) = ({!r}, {!r});".format(name, *map(float, pair(value))))


def words(lines, name, value, keep, doc):
    """Three constants: two of `keep` bits, then the rest rounded."""
    first = truncated(value, keep)
    second = truncated(value - first, keep)
    third = rn(value - first - second)
    lines.append(f"/// {doc}")
    lines.append("pub const {}: [f64; 3] = [{!r}, {!r}, {!r}];".format(name, *map(float, (first, second, third))))


def factorials(first, step, count, sign=1):
    return [mpf(sign) ** i / mp.factorial(first + step * i) for i in range(count)]


def double_words(out):
    ln2 = mp.log(2)
    words(out, "LN2_64", ln2 / 64, 35, "ln 2 / 64; the first two have 35 bits.")
    constant(out, "INV_LN2_64", rn(64 / ln2), "64 / ln 2.")
    pair_constant(out, "LN2", ln2, "ln 2.")
    pair_constant(out, "INV_LN2", 1 / ln2, "1 / ln 2.")
    pair_tables(out, "EXP2_64", [mpf(2) ** (mpf(j) / 64) for j in range(64)], "2^(j/64).")
    pairs(out, "EXP_HEAD", factorials(1, 1, 5), "1/n! for n = 1 to 5.")
    coefficients(out, "EXP_REST", [rn(v) for v in factorials(6, 1, 6)], "1/n! for n = 6 to 11.")

    words(out, "LN2_WORDS", ln2, 40, "ln 2; the first two have 40 bits.")
    offset = 0x3FE6A00000000000
    cs, worst = [], mpf(0)
    for j in range(64):
        a, b = mpf(from_bits(offset + (j << 46))), mpf(from_bits(offset + (j + 1 << 46)))
        c = mpf(1) if a < 1 < b else mp.nint(2 / (a + b) * 512) / 512
        cs.append(c)
        worst = max(worst, abs(a * c - 1), abs(b * c - 1))
    print("log double: |r| <= 2^", float(mp.log(worst, 2)))
    assert mpf(1) in cs
    table(out, "LOG_C", cs, "About 1/m in the middle of the j-th interval, in at most 10 bits; 1 around m = 1.")
    pair_tables(out, "LOG_LN", [-mp.log(c) for c in cs], "-ln LOG_C.")
    pairs(out, "LOG_HEAD", [1 / mpf(2 * n + 1) for n in range(4)], "1/(2n+1) for n = 0 to 3.")
    coefficients(out, "LOG_REST", [rn(1 / mpf(2 * n + 1)) for n in range(4, 8)], "1/(2n+1) for n = 4 to 7.")

    # As in `trigonometry`: group i serves the exponents 16 i .. 16 i + 15, here of 53-bit numbers,
    # scaled by 2^(-16 i); bits of 32/pi that give multiples of 64 are left out.
    columns = [[] for _ in range(5)]
    with mp.workprec(1600):
        for i in range(64):
            rest = mp.ldexp(32 / mp.pi, 16 * i)
            rest -= mp.floor(mp.ldexp(rest, -58)) * mpf(2) ** 58
            for n, column in enumerate(columns):
                low = 5 - 53 * n
                word = mp.ldexp(mp.floor(mp.ldexp(rest, -low)), low) if n < 4 else rn(rest)
                assert mpf(float(word)) == word
                column.append(word)
                rest -= word
    for n, column in enumerate(columns):
        table(out, f"PI_32_INVERSE_{n}", column, f"Word {n} of 2^(16 i) * 32/pi modulo 2^58.")
    pair_constant(out, "PI_32", mp.pi / 32, "pi / 32.")
    pair_constant(out, "PI", mp.pi, "pi.")
    pair_constant(out, "PI_2", mp.pi / 2, "pi / 2.")
    pair_tables(out, "SIN_32", [mp.sin(mp.pi * j / 32) if j % 32 else mpf(0) for j in range(64)], "sin(j pi/32).")
    pairs(out, "SIN_HEAD", factorials(1, 2, 4, -1), "(-1)^n/(2n+1)! for n = 0 to 3.")
    coefficients(out, "SIN_REST", [rn(v) for v in factorials(9, 2, 5, -1)], "(-1)^n/(2n+1)! for n = 4 to 8.")
    pairs(out, "COS_HEAD", factorials(0, 2, 5, -1), "(-1)^n/(2n)! for n = 0 to 4.")
    coefficients(out, "COS_REST", [rn(-v) for v in factorials(10, 2, 4, -1)], "(-1)^n/(2n)! for n = 5 to 8.")

    pair_tables(out, "ATAN_64", [mp.atan(mpf(j) / 64) for j in range(64)], "atan(j/64).")
    pairs(out, "ATAN_HEAD", [mpf(-1) ** n / (2 * n + 1) for n in range(4)], "(-1)^n/(2n+1) for n = 0 to 3.")
    coefficients(out, "ATAN_REST", [rn(mpf(-1) ** n / (2 * n + 1)) for n in range(4, 9)],
                 "(-1)^n/(2n+1) for n = 4 to 8.")

    pairs(out, "ODD_RECIPROCALS", [1 / mpf(2 * n + 1) for n in range(160)], "1/(2n+1).")
    pair_constant(out, "TWO_OVER_SQRT_PI", 2 / mp.sqrt(mp.pi), "2/sqrt(pi).")


def write(path, doc, fill):
    out = [
        f"//! {doc} Written by `tools/fit/fit.py`; do not edit.",
        "//! Every literal is the shortest decimal that reads back as the intended binary64 number.",
        "#![allow(clippy::approx_constant, clippy::excessive_precision)]",
        "#![cfg_attr(rustfmt, rustfmt_skip)]",
        "",
    ]
    for part in fill:
        part(out)
    text = "\n".join(out) + "\n"
    if "--check" in sys.argv:
        if path.read_text() != text:
            sys.exit(f"{path} differs from what this program writes")
    else:
        path.write_text(text)


def main():
    write(FOLDER / "tables.rs", "Constants of the f32 functions.",
          [exponentials, logarithms, error_function, trigonometry, inverse_trigonometry])
    write(FOLDER / "double_tables.rs", "Constants of the double-word functions; `(hi, lo)` is hi + lo.", [double_words])
    folder = ROOT / "kernels/src/cpu/lane/quick"
    doc = "Constants of the shorter ways to exp and erf, by tables of"
    write(folder / "tables_16.rs", f"{doc} 16.", quick_tables(16, "6.2e-11", 4, 8, "4.9e-11"))
    write(folder / "tables_32.rs", f"{doc} 32.", quick_tables(32, "1.6e-11", 3, 6, "2.0e-10"))


if __name__ == "__main__":
    main()
