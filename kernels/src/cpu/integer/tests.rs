//! Every engine that this machine has against sums written out, also those that a faster one of the same
//! instruction set hides.

use repops::digest::Layout;

use super::block::{Size, product};
use super::engine::Engine;
use super::finish::{Finish, Numbers, Output};
use super::pack::{Left, Right, Terms};
use crate::isa::Isa;

/// Bytes, the extremes among them.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 61 {
                0 => 0,
                1 => 255,
                2 => 128,
                3 => 127,
                _ => (state >> 40) as u8,
            }
        })
        .collect()
}

fn value(byte: u8, signed: bool) -> i32 {
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

/// A product of raw bytes by an engine and written out.
fn check(isa: Isa, engine: &Engine, size: Size, signed: (bool, bool), zeros: u64) {
    let Size { batches, m, n, k } = size;
    let (a, b) = (bytes(batches * m * k, 1 + zeros), bytes(batches * k * n, 2 + zeros));
    let points = |count: usize, seed: u64, signed: bool| -> Vec<i32> {
        bytes(count, seed).iter().map(|&v| value(v, signed)).collect()
    };
    let (left_zero, right_zero) = match zeros {
        0 => (vec![0], vec![0]),
        1 => (points(1, 7, signed.0), points(1, 8, signed.1)),
        2 => (points(batches * m, 9, signed.0), vec![0]),
        3 => (points(1, 7, signed.0), points(batches * n, 10, signed.1)),
        _ => (points(batches * m, 9, signed.0), points(batches * n, 10, signed.1)),
    };
    let bias: Vec<i32> = (0..batches * m).map(|i| (i as i32).wrapping_mul(0x1234_5677)).collect();
    let mut wanted = vec![0i32; batches * m * n];
    let at = |list: &[i32], i: usize| list[if list.len() == 1 { 0 } else { i }];
    for (place, out) in wanted.iter_mut().enumerate() {
        let (row, column, batch) = (place / n, place % n, place / (m * n));
        *out = bias[row];
        for t in 0..k {
            let left = value(a[row * k + t], signed.0) - at(&left_zero, row);
            let right =
                value(b[(batch * k + t) * n + column], signed.1) - at(&right_zero, batch * n + column);
            *out = out.wrapping_add(left * right);
        }
    }
    let starts: Vec<usize> = (0..batches).map(|batch| batch * m).collect();
    // The right matrices by rows and in groups; what is past the ends of groups may be anything.
    let matrix = k.next_multiple_of(4) * n.next_multiple_of(16);
    let mut groups = bytes(batches * matrix, 3);
    for (at, byte) in b.iter().enumerate() {
        groups[Layout::Groups4.place(&[batches, k, n], at)] = *byte;
    }
    for (data, matrix, terms) in [(&b, k * n, Terms::Stride(n)), (&groups, matrix, Terms::Groups)] {
        let right_starts: Vec<usize> = (0..batches).map(|batch| batch * matrix).collect();
        let mut got = vec![0x5a5a_5a5ai32; batches * m * n];
        let finish = Finish {
            left_zero: Numbers(left_zero.clone().into()),
            right_zero: Numbers(right_zero.clone().into()),
            bias: Some(&bias),
            output: Output::Sums(&mut got),
            period: batches,
            columns: n,
            batch: m * n,
            row: n,
            lines: (usize::MAX, usize::MAX),
        };
        let left = Left { data: &a, signed: signed.0, starts: &starts };
        let right = Right { data, signed: signed.1, starts: &right_starts, terms };
        product(isa, engine, size, left, right, finish);
        let groups = matches!(terms, Terms::Groups);
        let names = (isa.name(), engine.name);
        assert!(got == wanted, "{names:?} {size:?} {signed:?} zeros {zeros} groups {groups}");
    }
}

#[test]
fn every_engine_computes_the_sums() {
    let sizes = [
        (1, 1, 1, 1),
        (1, 1, 130, 70),
        (1, 3, 17, 4),
        (1, 4, 600, 131),
        (2, 2, 64, 0),
        (2, 5, 33, 258),
        (1, 8, 1100, 37),
        (1, 13, 65, 2049),
        (1, 25, 16, 5001),
        (1, 530, 7, 9),
        (3, 12, 32, 0),
        (1, 9, 160, 2048),
    ];
    let mut ran = 0;
    for isa in Isa::available() {
        for engine in Engine::all(isa).iter().filter(|engine| (engine.available)()) {
            ran += 1;
            for threads in [1, 3] {
                let pool = crate::pool(threads).unwrap();
                for (index, (batches, m, n, k)) in sizes.into_iter().enumerate() {
                    let signed = [(false, true), (true, false), (false, false), (true, true)];
                    for (which, signed) in signed.into_iter().enumerate() {
                        let zeros = ((index + which * 2 + threads) % 5) as u64;
                        pool.install(|| check(isa, engine, Size { batches, m, n, k }, signed, zeros));
                    }
                }
            }
        }
    }
    assert!(ran >= 1);
}
