//! Proves the scalar functions: every f32 input, the double-word evaluations, `pow`.
//!
//! `cargo xtask prove exp sin`, `cargo xtask prove all`: all 2^32 inputs of the f32 functions.
//! `cargo xtask prove double`: the double-word evaluations against MPFR, sampled.
//! `cargo xtask prove pow`: pairs of inputs against MPFR, sampled and structured.
//! `cargo xtask prove check`: the results of all inputs have the recorded digests; then records the
//! present sources with the proofs.
//! `cargo xtask prove tables`: rewrites the expected bits that the ordinary tests read.
//!
//! Exit code: 0 proved, 1 something differs, 2 bad command line or files.
#![forbid(unsafe_code)]

mod double;
mod exhaustive;
mod functions;
mod judge;
mod oracle;
mod pow;
mod record;
mod tables;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("prove: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[&str]) -> Result<bool, String> {
    let names: Vec<&str> = functions::NAMES.to_vec();
    match words {
        [] => Err(format!("name a function ({}), or all, double, pow, check, tables", names.join(", "))),
        ["all"] => prove_each(&names),
        ["double"] => double::check_all(),
        ["pow"] => pow::check(1 << 11),
        ["pow", batches] => pow::check(batches.parse().map_err(|_| "how many batches of 4096 pairs?")?),
        ["check"] => check_digests(),
        ["tables"] => tables::write_all().map(|()| true),
        chosen => {
            for name in chosen {
                if !names.contains(name) {
                    return Err(format!("there is no function {name}; there are {}", names.join(", ")));
                }
            }
            prove_each(chosen)
        }
    }
}

fn prove_each(names: &[&str]) -> Result<bool, String> {
    let mut all_proved = true;
    for name in names {
        let proof = exhaustive::prove(name);
        all_proved &= proof.mismatches.is_empty();
        record::report(&proof);
        if proof.mismatches.is_empty() {
            record::store(&proof)?;
        }
    }
    Ok(all_proved)
}

/// Recomputes every proved function's results and compares their digest with the proof's.
fn check_digests() -> Result<bool, String> {
    let mut all_equal = true;
    for (name, expected) in record::proved()? {
        let digest = exhaustive::results_digest(&name).ok_or("the record names an unknown function")?;
        println!(
            "{name}: {}",
            if digest == expected { "the proved results" } else { "OTHER RESULTS than proved" }
        );
        if digest == expected {
            record::restamp(&name)?;
        } else {
            all_equal = false;
        }
    }
    Ok(all_equal)
}
