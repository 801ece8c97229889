//! Everything that reads bytes from a stranger, behind one signature, so that fuzzing and the ordinary tests enter
//! at the same places.
//!
//! Invariant: an entry function accepts or refuses any bytes without a panic; what it accepts, it also writes back
//! and reads again, and demands the same thing.

use std::sync::Arc;

use repops::digest::bytes_digest;
use repops::program::{Program, ProgramError};
use repops::reference::Reference;
use repops_compiler::{model, onnx, safetensors};
use repops_io::{npy, npz, tensor_proto};
use repops_provenance::dispute::audit;
use repops_provenance::trace_file::{self, TraceFile};
use repops_provenance::{Key, Receipt, verify};

/// A reader of strangers' bytes.
pub struct Surface {
    /// Names the fuzz target and its corpus.
    pub name: &'static str,
    /// Whether the bytes were accepted.
    pub enter: fn(&[u8]) -> bool,
}

pub const SURFACES: &[Surface] = &[
    Surface { name: "onnx", enter: onnx },
    Surface { name: "gguf", enter: gguf },
    Surface { name: "safetensors", enter: safetensors },
    Surface { name: "program", enter: program },
    Surface { name: "receipt", enter: receipt },
    Surface { name: "trace", enter: trace },
    Surface { name: "dispute", enter: dispute },
    Surface { name: "opening", enter: opening },
    Surface { name: "key", enter: key },
    Surface { name: "npy", enter: npy },
    Surface { name: "npz", enter: npz },
    Surface { name: "tensor_proto", enter: tensor_proto },
];

/// A model file; external data are looked for nowhere.
pub fn onnx(bytes: &[u8]) -> bool {
    onnx::import("model.onnx", bytes.to_vec().into(), None).is_ok()
}

/// A GGUF file, as far as a graph with its weights.
pub fn gguf(bytes: &[u8]) -> bool {
    model::import_gguf("model.gguf", bytes.to_vec().into(), Some(8)).is_ok()
}

/// A file of weights.
pub fn safetensors(bytes: &[u8]) -> bool {
    safetensors::parse(&bytes.to_vec().into()).is_ok()
}

/// A program file. Damage would nearly always be found by the program's digest; so that the checks behind it are
/// met too, bytes whose digest is wrong are sealed with the right one and read again.
pub fn program(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    let mut decoded = Program::decode(Arc::new(bytes.clone()));
    if let Err(ProgramError::Digest { declared, found }) = &decoded
        && let Some(at) = bytes.windows(declared.0.len()).position(|place| place == declared.0)
    {
        bytes[at..at + found.0.len()].copy_from_slice(&found.0);
        decoded = Program::decode(Arc::new(bytes.clone()));
        assert!(
            !matches!(decoded, Err(ProgramError::Digest { .. })),
            "the digest in an error is not the right one"
        );
    }
    let Ok(program) = decoded else { return false };
    let mut written = Vec::new();
    program.write(&mut written).expect("writing to memory");
    assert!(written == bytes, "a program is not written as it was read");
    true
}

pub fn receipt(bytes: &[u8]) -> bool {
    // What `repops verify` does first.
    let _ = verify::open(bytes);
    let Ok(receipt) = Receipt::parse(bytes) else { return false };
    let again = Receipt::parse(receipt.to_json().as_bytes()).expect("a receipt that was written");
    assert!(
        again == receipt && again.digest() == receipt.digest(),
        "a receipt is not read as it was written"
    );
    true
}

pub fn trace(bytes: &[u8]) -> bool {
    let Ok(file) = TraceFile::read(bytes) else { return false };
    let mut written = Vec::new();
    trace_file::write(&mut written, &file.program, &file.trace).expect("writing to memory");
    assert_eq!(TraceFile::read(&written[..]).expect("a trace that was written"), file);
    true
}

/// The transcript of a dispute: its receipts, its messages' form, and what the referee makes of their bodies.
pub fn dispute(bytes: &[u8]) -> bool {
    repops_provenance::dispute::simulate::replay_signed_anew(bytes)
}

/// A program, a receipt (each after its length, u32) and the opening of a record: as an auditor reads them, then what the
/// audit makes of them. A step is computed again only where program, trace and opening fit each other.
pub fn opening(bytes: &[u8]) -> bool {
    fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (own, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *rest = tail;
        Some(own)
    }
    let mut rest = bytes;
    let (Some(program), Some(receipt)) = (part(&mut rest), part(&mut rest)) else { return false };
    let Ok(opening) = audit::Opening::decode(rest) else { return false };
    assert!(opening.encode() == rest, "an opening is not written as it was read");
    let Ok(program) = Program::decode(Arc::new(program.to_vec())) else { return false };
    let Ok(receipt) = Receipt::parse(receipt) else { return false };
    let _ = audit::check(&program, &receipt.claim, &opening, &Reference, bytes_digest);
    true
}

/// A signing key's PEM text.
pub fn key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(key) = Key::from_pem(text) else { return false };
    let again = Key::from_pem(&key.to_pem()).expect("a key that was written");
    assert!(again.public() == key.public(), "a key is not read as it was written");
    true
}

pub fn npy(bytes: &[u8]) -> bool {
    let Ok(tensor) = npy::parse(bytes) else { return false };
    let mut written = Vec::new();
    npy::write(&mut written, tensor.view()).expect("writing to memory");
    let again = npy::parse_as(&written, Some(tensor.dtype())).expect("a tensor that was written");
    assert!(
        again.shape() == tensor.shape() && again.bytes() == tensor.bytes(),
        "a tensor is not read as written"
    );
    true
}

pub fn npz(bytes: &[u8]) -> bool {
    npz::parse(bytes).is_ok()
}

pub fn tensor_proto(bytes: &[u8]) -> bool {
    tensor_proto::parse(bytes).is_ok()
}
