//! Tokens chosen on the device, and by the reference: every parameter, ties, logits that are none, sums to their last bit.

use std::sync::Mutex;

use repops::dtype::DType;
use repops::scalar;
use repops::sequence::sampling::{Draw, Plain, Sampling, SamplingError, choose, log_probability};
use repops_cuda::launch::sampling::{self, CHOSEN_BYTES, Choice, chosen};
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;
use repops_ptx::suite::Draw as Numbers;

use super::{Check, What};

/// What follows a row: a token and the bits of its log-probability.
type Wanted = Result<(u32, u32), String>;

pub fn checks(long: bool) -> Vec<Check> {
    // Among the largest of these, several batches are sorted.
    let mut sizes = vec![1, 7, 700, 4097];
    // Each number of blocks that a sum is made of.
    sizes.extend([8200, 12_300, 37_000].into_iter().filter(|_| long));
    let of = |vocabulary: usize| {
        let known: Mutex<Option<Vec<Wanted>>> = Mutex::new(None);
        let run = move |device: &Interpreter| compare(device, vocabulary, &known);
        let name = format!("choices among {vocabulary} tokens");
        Check { name, architecture: 75, what: What::Other(Box::new(run)) }
    };
    let last_bits = [60, 3000].map(|tokens| Check {
        name: format!("choices among {tokens} tokens by the last bit of a sum"),
        architecture: 75,
        what: What::Other(Box::new(move |device| by_the_last_bit(device, tokens))),
    });
    sizes.into_iter().map(of).chain(last_bits).collect()
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
        Sampling { top_p: 1e-6, ..warm },
        Sampling { top_p: 0.9, ..warm },
        Sampling { top_p: 0.999_999, ..warm },
        Sampling { top_p: 0.95, temperature: 30.0, ..warm },
        Sampling { top_p: 0.999_999_9, temperature: 1000.0, ..warm },
        Sampling { top_p: 0.5, min_p: 0.3, ..warm },
        Sampling {
            top_p: 0.8,
            top_k: 50,
            temperature: 4.0,
            repetition_penalty: 1.2,
            frequency_penalty: 0.5,
            ..plain
        },
        Sampling { top_p: 0.99, top_k: 2000, temperature: 50.0, min_p: 0.9, ..plain },
        Sampling { top_p: 0.7, temperature: 0.001, presence_penalty: -3.0, ..plain },
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
    // Launches that keep within the steps that they may take.
    let mut found = Vec::new();
    for part in choices.chunks((60_000 / vocabulary).clamp(1, choices.len())) {
        found.extend(chosen_by(device, &rows, part)?);
    }
    for ((found, wanted), choice) in found.iter().zip(&*wanted).zip(&choices) {
        if found != wanted {
            return Err(format!(
                "{found:?} follows row {}, not {wanted:?}: {:?}",
                choice.row, choice.sampling
            ));
        }
    }
    Ok(())
}

/// Rows of which top_p keeps three tokens if the sum of all is what it is, and four if it is a unit of its last place more, or the
/// other way round. The fourth is then the one that is drawn, so that the token tells.
fn by_the_last_bit(device: &Interpreter, count: usize) -> Result<(), String> {
    let sampling = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::default() };
    let weight = |z: f32| f64::from(scalar::exp(z));
    let mut numbers = Numbers::new(41);
    for places in [[0, 1, 2, 3], [3, 2, 1, 0], [9, 20, 0, 59], [59, 58, 31, 30]] {
        let (mut row, mut fourth) = (Vec::new(), 0);
        for at in 0..count as u64 {
            // From numbers that are much of the sum to such that are nothing beside it.
            row.push(-6.0 - numbers.below(40_000) as f32 / 1000.0);
            if let Some(rank) = places.iter().position(|place| place * count as u64 / 60 == at) {
                row[at as usize] = -0.1 * rank as f32;
                fourth = if rank == 3 { at as u32 } else { fourth };
            }
        }
        let enough = weight(0.0) + weight(-0.1) + weight(-0.2);
        let mut sum = row.iter().fold(0.0, |sum, z| sum + weight(*z));
        while sum < 2.0 * enough {
            // The greatest one that is not too much.
            let missing = if sum < 2.0 * enough - 1.0 / 64.0 { 1.0 / 64.0 } else { 2.0 * enough - sum };
            let mut z = scalar::log(missing as f32).next_up().next_up();
            while weight(z) > missing {
                z = z.next_down();
            }
            row.push(z);
            sum += weight(z);
        }
        let mut more = row.clone();
        more.push(scalar::log((sum.next_up() - sum) as f32));
        assert_eq!(sum.to_bits(), (2.0 * enough).to_bits());
        assert_eq!((sum + weight(more[more.len() - 1])).to_bits(), sum.next_up().to_bits());

        let draws = (0..100).map(|seed| Draw { seed, ..Draw::default() });
        let chosen = |row: &[f32], draw| choose(row, &sampling, &[], 0, draw, &Plain);
        let draw = draws.into_iter().find(|draw| chosen(&more, *draw) == Ok(fourth)).ok_or("no such draw")?;
        for row in [row, more] {
            let token = chosen(&row, draw).map_err(|error| told_by(&error))?;
            let wanted = Ok((token, log_probability(&row, token, &Plain).to_bits()));
            let choice = Choice { row: 0, sampling: &sampling, tokens: &[], prompt: 0, draw };
            let found = chosen_by(device, &[row], &[choice])?;
            if found != [wanted.clone()] {
                return Err(format!("{found:?} follows, not {wanted:?}, with {places:?}"));
            }
        }
    }
    Ok(())
}

/// What the device chooses.
pub fn chosen_by(
    device: &Interpreter,
    rows: &[Vec<f32>],
    choices: &[Choice<'_>],
) -> Result<Vec<Wanted>, String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let mut flat: Vec<f32> = rows.concat();
    flat.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = f32::from_bits(0x7fc0_0000));
    let bytes: Vec<u8> = flat.iter().flat_map(|value| value.to_le_bytes()).collect();
    let logits = device.put(&bytes).map_err(told)?;
    let out = device.alloc(choices.len() * CHOSEN_BYTES).map_err(told)?;
    let shape = [rows.len(), rows[0].len()];
    let view = View { buffer: &logits, offset: 0, dtype: DType::F32, shape: &shape };
    let to = View { buffer: &out, offset: 0, dtype: DType::U8, shape: &[] };
    sampling::choose(device, view, choices, to).map_err(told)?;
    let mut found = vec![0; choices.len() * CHOSEN_BYTES];
    device.read(&out, 0, &mut found).map_err(told)?;
    let told = |bytes| {
        let (token, probability) = chosen(bytes).map_err(|error| told_by(&error))?;
        Ok((token, probability.to_bits()))
    };
    Ok(found.as_chunks::<CHOSEN_BYTES>().0.iter().map(told).collect())
}

fn told_by(error: &SamplingError) -> String {
    error.to_string()
}
