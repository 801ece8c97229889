//! Tokens chosen on the device, and by the reference: every parameter, ties, logits that are none.

use std::sync::Mutex;

use repops::dtype::DType;
use repops::sequence::sampling::{Draw, Plain, Sampling, SamplingError, choose, log_probability};
use repops_cuda::launch::sampling::{self, CHOSEN_BYTES, Choice, chosen};
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;
use repops_ptx::suite::Draw as Numbers;

use super::{Check, What};

/// What follows a row: a token and the bits of its log-probability.
type Wanted = Result<(u32, u32), String>;

pub fn checks(long: bool) -> Vec<Check> {
    let mut sizes = vec![1, 5, 700, 4097];
    // Each number of blocks that a sum is made of.
    sizes.extend([8200, 12_300, 37_000].into_iter().filter(|_| long));
    let of = |vocabulary: usize| {
        let known: Mutex<Option<Vec<Wanted>>> = Mutex::new(None);
        let run = move |device: &Interpreter| compare(device, vocabulary, &known);
        let name = format!("choices among {vocabulary} tokens");
        Check { name, architecture: 75, what: What::Other(Box::new(run)) }
    };
    sizes.into_iter().map(of).collect()
}

fn ways() -> Vec<Sampling> {
    let plain = Sampling::default();
    let warm = Sampling { temperature: 0.8, ..plain };
    vec![
        plain,
        Sampling { repetition_penalty: 1.3, presence_penalty: 0.25, frequency_penalty: 0.7, ..plain },
        Sampling { presence_penalty: -60.0, ..plain },
        warm,
        Sampling { top_k: 1, ..warm },
        Sampling { top_k: 3, ..warm },
        Sampling { top_k: 40, min_p: 0.05, ..warm },
        Sampling { top_k: 400, temperature: 30.0, ..warm },
        Sampling { min_p: 0.3, ..warm },
        Sampling { min_p: 1.0, temperature: 1000.0, ..warm },
        Sampling {
            temperature: 0.001,
            repetition_penalty: 0.5,
            frequency_penalty: -0.125,
            top_k: 17,
            ..plain
        },
    ]
}

/// Rows: any numbers, many equals, all alike, none, and those that are refused.
fn rows(vocabulary: usize) -> Vec<Vec<f32>> {
    let mut draw = Numbers::new(81 + vocabulary as u64);
    let mut number = || (draw.below(40_001) as f32 - 20_000.0) / 1000.0;
    let mut rows: Vec<Vec<f32>> = (0..3).map(|_| (0..vocabulary).map(|_| number()).collect()).collect();
    rows[1].iter_mut().for_each(|value| *value = (*value / 8.0).round());
    rows[2].iter_mut().step_by(3).for_each(|value| *value = f32::NEG_INFINITY);
    rows.push(vec![-0.0; vocabulary]);
    rows[3].iter_mut().step_by(2).for_each(|value| *value = 0.0);
    rows.push(vec![f32::NEG_INFINITY; vocabulary]);
    for value in [f32::NAN, f32::INFINITY] {
        let mut row = rows[0].clone();
        let last = row.len() - 1;
        row[last] = value;
        row[last / 2] = value;
        rows.push(row);
    }
    rows
}

fn compare(
    device: &Interpreter,
    vocabulary: usize,
    known: &Mutex<Option<Vec<Wanted>>>,
) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let (rows, ways) = (rows(vocabulary), ways());
    let tokens: Vec<u32> = (0..40u32).map(|i| i * i % 23 % vocabulary as u32).collect();
    let mut choices = Vec::new();
    for row in 0..rows.len() {
        for (at, sampling) in ways.iter().enumerate() {
            let seed = 0x0123_4567_89ab_cdef ^ (at as u64) << 7;
            let draw = Draw { seed, nonce: 0xfedc_ba98_7654 + row as u64, position: 5 + at as u32 };
            choices.push(Choice { row, sampling, tokens: &tokens, prompt: 9, draw });
        }
    }
    let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let wanted = known.get_or_insert_with(|| {
        let reference = |choice: &Choice<'_>| {
            let Choice { row, sampling, tokens, prompt, draw } = *choice;
            let token = choose(&rows[row], sampling, tokens, prompt, draw, &Plain);
            let token = token.map_err(|error| told_by(&error))?;
            Ok((token, log_probability(&rows[row], token, &Plain).to_bits()))
        };
        choices.iter().map(reference).collect()
    });
    let mut flat: Vec<f32> = rows.concat();
    flat.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = f32::from_bits(0x7fc0_0000));
    let bytes: Vec<u8> = flat.iter().flat_map(|value| value.to_le_bytes()).collect();
    let logits = device.put(&bytes).map_err(told)?;
    let out = device.alloc(choices.len() * CHOSEN_BYTES).map_err(told)?;
    let shape = [rows.len(), vocabulary];
    let view = View { buffer: &logits, offset: 0, dtype: DType::F32, shape: &shape };
    let to = View { buffer: &out, offset: 0, dtype: DType::U8, shape: &[] };
    sampling::choose(device, view, &choices, to).map_err(told)?;
    let mut found = vec![0; choices.len() * CHOSEN_BYTES];
    device.read(&out, 0, &mut found).map_err(told)?;
    for ((bytes, wanted), choice) in found.as_chunks::<CHOSEN_BYTES>().0.iter().zip(wanted).zip(&choices) {
        let found = chosen(bytes).map(|(token, probability)| (token, probability.to_bits()));
        let found = found.map_err(|error| told_by(&error));
        if found != *wanted {
            return Err(format!(
                "{found:?} follows row {}, not {wanted:?}: {:?}",
                choice.row, choice.sampling
            ));
        }
    }
    Ok(())
}

fn told_by(error: &SamplingError) -> String {
    error.to_string()
}
