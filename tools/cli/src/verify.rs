//! `repops verify`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use repops::Program;
use repops::exec::HashLevel;
use repops::reference::Reference;
use repops::sequence::sampling::Plain;
use repops_provenance::generation::{self, GenerationReceipt};
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use repops_provenance::verify::{Difference, VerifyOptions, open};
use repops_provenance::{PublicKey, Receipt, Verdict, row_log};
use repops_runtime::session::{SessionOptions, Vectorized};
use serde_json::json;

use crate::arguments::{DeviceChoice, Verify};
use crate::engine::{self, Engine};
use crate::interrupt::{Watcher, watch_for_interrupts};
use crate::report::{print, print_json};
use crate::{Answer, Failure, Result, inputs, keys};

pub fn verify(arguments: &Verify) -> Result<Answer> {
    let signer = arguments.signer.as_deref().map(keys::public_key).transpose()?;
    let text = read_bounded(&arguments.receipt)?;
    // Everything is read before anything is judged: a missing file is no refutation.
    let program = engine::load(&arguments.program)?;
    if generation::is_generation(&text) {
        return verify_generation(arguments, signer, &text, program);
    }
    let receipt = match open(&text) {
        Ok(Ok(receipt)) => receipt,
        Ok(Err(difference)) => return Ok(refuted(arguments, None, &difference.to_string())),
        Err(error) => return Err(Failure(format!("{}: {error}", arguments.receipt.display()))),
    };
    if receipt.claim.program != program.digest() {
        // Inputs need not even fit another program.
        let difference = Difference::Program { claimed: receipt.claim.program, found: program.digest() };
        return Ok(refuted(arguments, Some(receipt.signer), &difference.to_string()));
    }
    let tensors = inputs::read(&arguments.inputs, &program)?;
    let engine = Engine::new(&arguments.engine)?;
    let options = VerifyOptions { signer, hash: repops_kernels::bytes_digest };
    let mut watcher = Watcher::new(&program, "verifying");
    let verdict = repops_provenance::verify(&receipt, &program, &tensors, &engine, &options, &mut watcher)?;
    drop(watcher);
    match verdict {
        Verdict::Verified => Ok(verified(arguments, &receipt)),
        Verdict::Refuted(difference) => Ok(refuted(arguments, Some(receipt.signer), &difference.to_string())),
    }
}

/// Receipts of generations: all rows at once.
fn verify_generation(
    arguments: &Verify,
    signer: Option<PublicKey>,
    text: &[u8],
    program: Program,
) -> Result<Answer> {
    watch_for_interrupts();
    let receipt = match generation::open(text) {
        Ok(Ok(receipt)) => receipt,
        Ok(Err(difference)) => return Ok(refuted(arguments, None, &difference.to_string())),
        Err(error) => return Err(Failure(format!("{}: {error}", arguments.receipt.display()))),
    };
    if let (Some(count), Some(trace)) = (arguments.spot, &arguments.trace) {
        return spot(arguments, signer, &receipt, program, count as usize, trace);
    }
    let found = if arguments.engine.reference {
        let hash = repops::digest::bytes_digest;
        generation::verify(&receipt, &program, signer, &Reference, &Plain, hash)?
    } else if receipt.claim.program != program.digest() {
        let (claimed, found) = (receipt.claim.program, program.digest());
        Some(generation::Difference::Program { claimed, found })
    } else if let DeviceChoice::Cuda(_) = arguments.engine.device
        && let Engine::Device(device) = Engine::new(&arguments.engine)?
    {
        let functions = Vectorized::new(device.cpu().isa());
        let hash = repops_kernels::bytes_digest;
        generation::verify(&receipt, &program, signer, device.as_ref(), &functions, hash)?
    } else {
        let level = receipt.claim.trace_root.map_or(HashLevel::None, |_| HashLevel::Operators);
        let program = Arc::new(program);
        let cache = SessionOptions::default().cache_bytes;
        let session = crate::generate::session(&program, &arguments.engine, level, cache)?;
        let functions = Vectorized::new(session.runtime().isa());
        let hash = repops_kernels::bytes_digest;
        generation::verify(&receipt, &program, signer, session.as_ref(), &functions, hash)?
    };
    if let Some(difference) = found {
        return Ok(refuted(arguments, Some(receipt.signer), &difference.to_string()));
    }
    if arguments.json {
        let claim = &receipt.claim;
        print_json(&json!({
            "verdict": "verified",
            "signer": receipt.signer.to_string(),
            "program": claim.program.to_hex(),
            "receipt_digest": claim.digest().to_hex(),
            "trace_root": claim.trace_root.map(|root| root.to_hex()),
            "tokens": claim.tokens.len(),
        }));
    } else {
        print(&format!("verified, signed by {}", receipt.signer));
    }
    Ok(Answer::Yes)
}

/// Some positions of a generation, drawn at random.
fn spot(
    arguments: &Verify,
    signer: Option<PublicKey>,
    receipt: &GenerationReceipt,
    program: Program,
    count: usize,
    trace: &Path,
) -> Result<Answer> {
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", trace.display()));
    let mut file = BufReader::new(File::open(trace).map_err(failed)?);
    let total = receipt.claim.rows().len();
    let positions = row_log::draw(count, total).map_err(|error| Failure(error.to_string()))?;
    let found = if arguments.engine.reference {
        let hash = repops::digest::bytes_digest;
        row_log::spot(receipt, &program, signer, &mut file, &positions, &Reference, &Plain, hash)?
    } else if receipt.claim.program != program.digest() {
        let (claimed, found) = (receipt.claim.program, program.digest());
        Some(generation::Difference::Program { claimed, found })
    } else {
        let (level, cache) = (HashLevel::Operators, SessionOptions::default().cache_bytes);
        let program = Arc::new(program);
        let session = crate::generate::session(&program, &arguments.engine, level, cache)?;
        let functions = Vectorized::new(session.runtime().isa());
        let hash = repops_kernels::bytes_digest;
        row_log::spot(receipt, &program, signer, &mut file, &positions, session.as_ref(), &functions, hash)?
    };
    if let Some(difference) = found {
        return Ok(refuted(arguments, Some(receipt.signer), &difference.to_string()));
    }
    // A lie about one position, about a hundredth of them, about a tenth.
    let mut lies = vec![1, total.div_ceil(100), total.div_ceil(10)];
    lies.dedup();
    let chances: Vec<_> = lies.into_iter().map(|lies| (lies, caught(total, lies, positions.len()))).collect();
    if arguments.json {
        let chances: Vec<_> = chances
            .iter()
            .map(|(lies, chance)| json!({ "positions_changed": lies, "probability": chance }))
            .collect();
        print_json(&json!({
            "verdict": "verified",
            "signer": receipt.signer.to_string(),
            "positions": positions,
            "of": total,
            "caught": chances,
        }));
    } else {
        print(&format!("{} of {total} positions verified, signed by {}", positions.len(), receipt.signer));
        for (lies, chance) in chances {
            print(&format!("a change of {lies} would be seen with probability {chance:.3}"));
        }
    }
    Ok(Answer::Yes)
}

/// The probability that `drawn` of `total` positions hold at least one of `lies`.
#[expect(clippy::float_arithmetic, reason = "for people; outside of what is signed")]
fn caught(total: usize, lies: usize, drawn: usize) -> f64 {
    let missed = (0..drawn.min(total)).fold(1.0, |missed, at| {
        let left = total - at;
        missed * left.saturating_sub(lies) as f64 / left as f64
    });
    1.0 - missed
}

fn verified(arguments: &Verify, receipt: &Receipt) -> Answer {
    if arguments.json {
        let object = json!({
            "verdict": "verified",
            "signer": receipt.signer.to_string(),
            "program": receipt.claim.program.to_hex(),
            "trace_root": receipt.claim.trace.map(|t| t.root.to_hex()),
        });
        print_json(&object);
    } else {
        print(&format!("verified, signed by {}", receipt.signer));
        if let Some(fault) = receipt.claim.fault {
            print(&format!("the claim is a fault: {} at step {}", fault.fault, fault.step));
        }
    }
    Answer::Yes
}

fn refuted(arguments: &Verify, signer: Option<PublicKey>, difference: &str) -> Answer {
    if arguments.json {
        let object = json!({
            "verdict": "refuted",
            "signer": signer.map(|s| s.to_string()),
            "difference": difference,
        });
        print_json(&object);
    } else {
        print(&format!("refuted: {difference}"));
    }
    Answer::No
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(RECEIPT_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}
