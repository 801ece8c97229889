//! `repops devices --measure N`: what a GPU's kernels do in a second, beside what its memory and its arithmetic units can do.
//!
//! Invariant: what is timed is what programs launch, found by the same table. Each work is recorded some times, so that the time to
//! give it to the device does not count; operands lie in more memory than caches hold wherever their reading is what is measured.
#![expect(clippy::disallowed_methods, clippy::float_arithmetic, reason = "measuring time is its purpose")]

use std::time::Instant;

use repops::attrs::Attrs;
use repops::ops;
use repops::{DType, Layout};
use repops_cuda::launch::contract::attention::{AttentionShape, Past, attend};
use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots};
use repops_cuda::launch::roof;
use repops_cuda::table::InputType;
use repops_cuda::{Call, Device, Error, Operand, View, lookup};
use serde::Serialize;

/// How large the works are.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Sides of matrices, positions and bytes are divided by this.
    pub divisor: usize,
    /// How often each recording is replayed; the median counts.
    pub replays: usize,
    /// Bytes that no cache holds.
    pub cold_bytes: usize,
}

impl Scale {
    /// For real devices.
    pub const FULL: Scale = Scale { divisor: 1, replays: 9, cold_bytes: 512 << 20 };
}

/// What a work has to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Operations, two of them a fused multiply-add.
    Operations,
    Bytes,
}

/// A work and how fast it was.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub work: &'static str,
    pub shape: String,
    pub median_ms: f64,
    pub unit: Unit,
    /// 10^12 operations or 10^9 bytes a second.
    pub rate: f64,
    /// Of the rate of the roof that was measured with it: reading and writing memory for bytes, fused multiply-adds of f32 for operations;
    /// `None` for the roofs, and for integers.
    pub of_roof: Option<f64>,
}

/// Measures everything, the roofs first.
pub fn measure<D: Device>(device: &D, scale: Scale) -> Result<Vec<Measured>, Error> {
    let mut bench = Bench { device, scale, rows: Vec::new() };
    bench.roofs()?;
    for side in [4096, 8192] {
        bench.product("gemm f32", DType::F32, Layout::RowMajor, [side, side, side])?;
    }
    bench.product("gemm f32, panels", DType::F32, Layout::Panel16, [4096, 4096, 4096])?;
    bench.product("gemm bf16 weights", DType::BF16, Layout::Panel16, [4096, 4096, 4096])?;
    bench.integers([8192, 8192, 8192])?;
    for [n, k] in [[4096, 4096], [28672, 8192], [8192, 28672]] {
        for batch in [1, 4, 8] {
            bench.reading("gemv bf16", DType::BF16, [batch, n, k])?;
        }
    }
    bench.reading("gemv f32", DType::F32, [1, 4096, 4096])?;
    bench.attention("attention, prefill", 4096, 4096)?;
    bench.attention("attention, decode", 32768, 1)?;
    bench.hashing()?;
    Ok(bench.rows)
}

struct Bench<'a, D: Device> {
    device: &'a D,
    scale: Scale,
    rows: Vec<Measured>,
}

impl<D: Device> Bench<'_, D> {
    /// Times `work`, which is recorded `times` times; it is told which one it is.
    fn time(
        &mut self,
        (work, shape): (&'static str, String),
        (unit, amount): (Unit, f64),
        times: usize,
        run: impl Fn(&D, usize) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        // Once as it is, so that what is loaded when it is first needed is there.
        run(self.device, 0)?;
        self.device.synchronize()?;
        let recording = self.device.record(&mut || (0..times).try_for_each(|at| run(self.device, at)))?;
        let mut seconds = Vec::new();
        for _ in 0..=self.scale.replays {
            let start = Instant::now();
            self.device.replay(&recording)?;
            self.device.synchronize()?;
            seconds.push(start.elapsed().as_secs_f64() / times as f64);
        }
        // The first was a warm-up.
        seconds.remove(0);
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let rate = amount / median / if unit == Unit::Bytes { 1e9 } else { 1e12 };
        self.rows.push(Measured { work, shape, median_ms: median * 1e3, unit, rate, of_roof: None });
        Ok(rate)
    }

    /// The same, as a part of the roof of its unit.
    fn time_under(
        &mut self,
        what: (&'static str, String),
        amount: (Unit, f64),
        times: usize,
        run: impl Fn(&D, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rate = self.time(what, amount, times, run)?;
        let roof = self.rows.iter().find(|row| row.unit == amount.0).map(|row| row.rate);
        if let Some(row) = self.rows.last_mut() {
            row.of_roof = roof.map(|roof| rate / roof);
        }
        Ok(())
    }

    /// A length of the scale.
    fn side(&self, full: usize) -> usize {
        (full / self.scale.divisor).max(1)
    }

    /// Memory of so many bytes with numbers that toss all bits, as multiplying zeros takes less power.
    fn filled(&self, dtype: DType, bytes: usize) -> Result<D::Buffer, Error> {
        let buffer = self.device.alloc(bytes.max(16))?;
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as u32
        };
        let block: Vec<u8> = (0..bytes.min(16 << 20).div_ceil(4))
            .flat_map(|_| {
                // Between -1 and 1.
                let value = draw() as f32 / 8_388_608.0 - 1.0;
                match dtype {
                    DType::F32 => value.to_le_bytes(),
                    DType::BF16 => {
                        let half = ((value.to_bits() >> 16) as u16).to_le_bytes();
                        [half[0], half[1], half[0], half[1]]
                    }
                    _ => draw().wrapping_mul(0x0101_0107).to_le_bytes(),
                }
            })
            .collect();
        let mut at = 0;
        while at < bytes {
            let len = block.len().min(bytes - at);
            self.device.write(&buffer, at, &block[..len])?;
            at += len;
        }
        Ok(buffer)
    }

    fn roofs(&mut self) -> Result<(), Error> {
        let bytes = self.scale.cold_bytes;
        let (from, to) = (self.filled(DType::F32, bytes)?, self.device.alloc(bytes)?);
        // Read and written.
        let amount = (Unit::Bytes, 2.0 * bytes as f64);
        self.time(("copy of memory", format!("{} MiB", bytes >> 20)), amount, 4, |device, _| {
            device.copy(&from, 0, &to, 0, bytes)
        })?;
        let threads = self.side(1 << 20).next_multiple_of(roof::THREADS);
        let out = self.device.alloc(4 * threads)?;
        let (shape, rounds) = ([threads], self.side(4096) as u32);
        let operations = 2.0 * (roof::FMAS * u64::from(rounds)) as f64 * threads as f64;
        self.time(
            ("fma f32", format!("{threads} threads")),
            (Unit::Operations, operations),
            2,
            |device, _| {
                let out = View { buffer: &out, offset: 0, dtype: DType::F32, shape: &shape };
                roof::fma(device, out, 0.999, 0.001, rounds)
            },
        )?;
        Ok(())
    }

    /// A product of f32 with weights of a type.
    fn product(
        &mut self,
        work: &'static str,
        dtype: DType,
        layout: Layout,
        sides: [usize; 3],
    ) -> Result<(), Error> {
        let [m, n, k] = sides.map(|side| self.side(side));
        let a = self.filled(DType::F32, 4 * m * k)?;
        let b = self.filled(dtype, dtype.size() * k * n.next_multiple_of(16))?;
        let out = self.device.alloc(4 * m * n)?;
        let amount = (Unit::Operations, 2.0 * (m * n) as f64 * k as f64);
        self.time_under((work, format!("{m} x {n} x {k}")), amount, 2, |device, _| {
            matmul(
                device,
                "MatMul",
                [(&a, 0, DType::F32), (&b, 0, dtype)],
                layout,
                (&out, DType::F32),
                [m, n, k],
            )
        })
    }

    /// A product of bytes, signed by signed.
    fn integers(&mut self, sides: [usize; 3]) -> Result<(), Error> {
        let [m, n, k] = sides.map(|side| self.side(side));
        let (a, b) = (self.filled(DType::I8, m * k)?, self.filled(DType::I8, k * n)?);
        let out = self.device.alloc(4 * m * n)?;
        let amount = (Unit::Operations, 2.0 * (m * n) as f64 * k as f64);
        self.time(("gemm int8", format!("{m} x {n} x {k}")), amount, 2, |device, _| {
            let operands = [(&a, 0, DType::I8), (&b, 0, DType::I8)];
            matmul(device, "MatMulInteger", operands, Layout::RowMajor, (&out, DType::I32), [m, n, k])
        })?;
        Ok(())
    }

    /// A product of few rows, whose weights are not in a cache: as many of them take turns.
    fn reading(&mut self, work: &'static str, dtype: DType, [m, n, k]: [usize; 3]) -> Result<(), Error> {
        let [n, k] = [n, k].map(|side| self.side(side));
        let bytes = dtype.size() * k * n.next_multiple_of(16);
        let turns = self.scale.cold_bytes.div_ceil(bytes).clamp(2, 64);
        let a = self.filled(DType::F32, 4 * m * k)?;
        let b = self.filled(dtype, turns * bytes)?;
        let out = self.device.alloc(4 * m * n)?;
        let amount = (Unit::Bytes, (dtype.size() * n * k) as f64);
        self.time_under((work, format!("{m} x {n} x {k}")), amount, turns, |device, turn| {
            let operands = [(&a, 0, DType::F32), (&b, turn * bytes, dtype)];
            matmul(device, "MatMul", operands, Layout::Panel16, (&out, DType::F32), [m, n, k])
        })
    }

    /// 32 heads of 128 over 8 heads of keys and values: the last `rows` of so many positions, in pages.
    fn attention(&mut self, work: &'static str, positions: usize, rows: usize) -> Result<(), Error> {
        const PAGE: usize = 256;
        let (positions, rows) = (self.side(positions), if rows == 1 { 1 } else { self.side(rows) });
        let (heads, kv_heads, d) = (32, 8, 128);
        let shape = AttentionShape { heads, kv_heads, d, e: d, scale: 0.088, softcap: 0.0, window: 0 };
        let held = positions.next_multiple_of(PAGE);
        let turns = if rows == 1 { 2 } else { 1 };
        let bytes = 4 * held * kv_heads * d;
        let q = self.filled(DType::F32, 4 * rows * heads * d)?;
        let (keys, values) =
            (self.filled(DType::F32, turns * bytes)?, self.filled(DType::F32, turns * bytes)?);
        let numbers: Vec<u8> = (0..(held / PAGE) as u32).flat_map(u32::to_le_bytes).collect();
        let pages = self.device.put(&numbers)?;
        let out = self.device.alloc(4 * rows * heads * d)?;
        // Row i sees the positions up to its own.
        let seen: usize = (positions - rows..positions).map(|position| position + 1).sum();
        let amount = match rows {
            1 => (Unit::Bytes, 2.0 * (4 * positions * kv_heads * d) as f64),
            _ => (Unit::Operations, 4.0 * seen as f64 * (heads * d) as f64),
        };
        self.time_under((work, format!("{rows} rows of {positions}")), amount, turns, |device, turn| {
            let row = [rows, heads * d];
            let past = [held, kv_heads * d];
            let page_count = [held / PAGE];
            let view = |buffer, offset| View { buffer, offset, dtype: DType::F32, shape: &past };
            let past = Past {
                keys: view(&keys, turn * bytes),
                values: view(&values, turn * bytes),
                pages: Some(View { buffer: &pages, offset: 0, dtype: DType::U32, shape: &page_count }),
            };
            let [q, out] =
                [&q, &out].map(|buffer| View { buffer, offset: 0, dtype: DType::F32, shape: &row });
            attend(device, &shape, q, positions - rows, rows, &past, out)
        })
    }

    fn hashing(&mut self) -> Result<(), Error> {
        let bytes = self.scale.cold_bytes;
        let (from, out) = (self.filled(DType::F32, bytes)?, self.device.alloc(ROOT_BYTES)?);
        let amount = (Unit::Bytes, bytes as f64);
        self.time_under(("hashing", format!("{} MiB", bytes >> 20)), amount, 2, |device, _| {
            roots(device, &[Bytes { buffer: &from, offset: 0, len: bytes }], &out, 0)
        })
    }
}

/// An operator's operand: where it lies.
type Place<'a, B> = (&'a B, usize, DType);

/// A product as programs have it launched.
fn matmul<D: Device>(
    device: &D,
    op: &str,
    [a, b]: [Place<'_, D::Buffer>; 2],
    layout: Layout,
    out: (&D::Buffer, DType),
    [m, n, k]: [usize; 3],
) -> Result<(), Error> {
    let missing = || Error::unsupported(format!("{op} of {} by {}", a.2, b.2));
    let def = ops::by_name(op).ok_or_else(missing)?;
    let attrs = def.check_attrs(&Attrs::new()).map_err(|_| missing())?;
    let shapes = [[m, k], [k, n]];
    let inputs = [operand(a, &shapes[0], Layout::RowMajor), operand(b, &shapes[1], layout)];
    let types: Vec<Option<InputType<'_>>> = inputs
        .iter()
        .map(|input| {
            let Operand { view, layout, .. } = input.as_ref()?;
            Some(InputType { dtype: view.dtype, shape: view.shape, layout: *layout, on_host: false })
        })
        .collect();
    let launch = lookup::<D>(def.id, def.version, &attrs, &types).ok_or_else(missing)?;
    let out = View { buffer: out.0, offset: 0, dtype: out.1, shape: &[m, n] };
    launch(device, &Call { op: def, attrs: &attrs, inputs: &inputs, outputs: &[Some(out)] })
}

fn operand<'a, B>(
    (buffer, offset, dtype): Place<'a, B>,
    shape: &'a [usize],
    layout: Layout,
) -> Option<Operand<'a, B>> {
    Some(Operand { view: View { buffer, offset, dtype, shape }, layout, host: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every work runs, on the interpreter; times there mean nothing.
    #[test]
    fn every_work_runs() {
        let scale = Scale { divisor: 512, replays: 1, cold_bytes: 1 << 14 };
        let rows = measure(&repops_ptx::Interpreter::new(), scale).unwrap();
        assert_eq!(rows.len(), 20, "{rows:#?}");
        assert!(rows.iter().all(|row| row.rate > 0.0), "{rows:#?}");
        let without = rows.iter().filter(|row| row.of_roof.is_none()).map(|row| row.work);
        assert_eq!(without.collect::<Vec<_>>(), ["copy of memory", "fma f32", "gemm int8"]);
    }
}
