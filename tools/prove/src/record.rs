//! `repops/proofs/f32.json`: which proofs ran, on which sources, with which outcome.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exhaustive::Proof;

/// One line of the record.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    inputs: u64,
    left_to_mpfr: u64,
    mismatches: u64,
    results_sha256: String,
    source_sha256: String,
    isa: String,
    date: String,
    seconds: u64,
}

/// The folder of the crate whose functions are proved.
pub fn repops_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../repops")
}

/// Prints the outcome; mismatches as the pairs that `repaired` takes.
pub fn report(proof: &Proof) {
    println!(
        "{}: 4294967296 inputs, {} left to MPFR, {} wrong, {:.0} s with {}",
        proof.name,
        proof.doubtful.len(),
        proof.mismatches.len(),
        proof.seconds,
        proof.isa.name()
    );
    for (input, right) in &proof.mismatches {
        println!("    ({input:#010x}, {right:#010x}),");
    }
}

/// Adds the proof to the record, replacing an older one of the same function.
pub fn store(proof: &Proof) -> Result<(), String> {
    let mut entries = read()?;
    let entry = Entry {
        inputs: 1 << 32,
        left_to_mpfr: proof.doubtful.len() as u64,
        mismatches: proof.mismatches.len() as u64,
        results_sha256: proof.results_digest.clone(),
        source_sha256: source_digest(&proof.name)?,
        isa: proof.isa.name().to_string(),
        date: today(),
        seconds: proof.seconds as u64,
    };
    entries.insert(proof.name.clone(), entry);
    write(&entries)
}

/// The recorded functions with the digests of their results.
pub fn proved() -> Result<Vec<(String, String)>, String> {
    Ok(read()?.into_iter().map(|(name, entry)| (name, entry.results_sha256)).collect())
}

/// Records that the present source gives the proved results.
pub fn restamp(name: &str) -> Result<(), String> {
    let mut entries = read()?;
    let entry = entries.get_mut(name).ok_or("no such proof")?;
    entry.source_sha256 = source_digest(name)?;
    write(&entries)
}

fn path() -> PathBuf {
    repops_folder().join("proofs/f32.json")
}

fn read() -> Result<BTreeMap<String, Entry>, String> {
    let path = path();
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

fn write(entries: &BTreeMap<String, Entry>) -> Result<(), String> {
    let path = path();
    let text = serde_json::to_string_pretty(entries).map_err(|e| e.to_string())? + "\n";
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, &path))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// SHA-256 over the names, lengths and contents of the sources of an f32 function, and its repairs.
fn source_digest(function: &str) -> Result<String, String> {
    let own = match function {
        "exp" | "exp2" | "expm1" => None,
        "log" | "log2" | "log1p" => Some("scalar/log.rs"),
        "sin" | "cos" | "tan" => Some("scalar/trig.rs"),
        "asin" | "acos" | "atan" => Some("scalar/inverse_trig.rs"),
        "sinh" | "cosh" | "tanh" => Some("scalar/hyperbolic.rs"),
        "erf" => Some("scalar/erf.rs"),
        _ => return Err(format!("the sources of {function} are not listed")),
    };
    let shared = ["lane.rs", "scalar/exp.rs", "scalar/generated/tables.rs", "scalar/polynomial.rs"];
    let mut digest = Sha256::new();
    for name in shared.into_iter().chain(own) {
        let path = repops_folder().join("src").join(name);
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        digest.update(name.as_bytes());
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(&text);
    }
    digest.update(repairs_text(function)?.as_bytes());
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The list in `repairs.rs`, without white space: `[(0x..,0x..)]`.
fn repairs_text(function: &str) -> Result<String, String> {
    let path = repops_folder().join("src/scalar/repairs.rs");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let start = text.find(&format!("const {}:", function.to_uppercase())).ok_or("no list of repairs")?;
    let list = text[start..].split_once('=').and_then(|(_, rest)| rest.split_once(';')).ok_or("no list")?;
    Ok(list.0.split_whitespace().collect())
}

/// The inputs listed there.
pub fn repaired_inputs(function: &str) -> Result<Vec<u32>, String> {
    let text = repairs_text(function)?;
    let inputs = text.split('(').skip(1).map(|pair| pair.split(',').next().unwrap_or_default());
    let parsed = inputs.map(|word| u32::from_str_radix(word.trim_start_matches("0x"), 16));
    parsed.collect::<Result<_, _>>().map_err(|e| format!("repairs.rs: {e}"))
}

/// The date in UTC, as year-month-day (H. Hinnant's days-to-civil algorithm).
#[expect(clippy::disallowed_methods, reason = "the record states when a proof ran")]
fn today() -> String {
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
