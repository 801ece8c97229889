//! What a cheat does: a receipt that names one program and carries what another one computed.
//!
//! `forge CHEAT.json HONEST.json KEY FORGED.json`: everything of the cheat's receipt under the program
//! digest of the honest one, signed with KEY. Its signature is good; only running the program refutes it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use repops_provenance::{Key, Receipt};

fn main() -> ExitCode {
    match forge() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn forge() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [cheat, honest, key, forged] = paths.as_slice() else {
        return Err("usage: forge CHEAT.json HONEST.json KEY FORGED.json".into());
    };
    let cheat = Receipt::parse(&std::fs::read(cheat)?)?;
    let honest = Receipt::parse(&std::fs::read(honest)?)?;
    let mut claim = cheat.claim;
    claim.program = honest.claim.program;
    let receipt = claim.sign(&Key::load(key)?, cheat.info);
    std::fs::write(forged, receipt.to_json())?;
    Ok(())
}
