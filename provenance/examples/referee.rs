//! Replays transcripts of disputes, and says the verdict and the most memory that this process had resident: a referee and
//! nothing else.
#![forbid(unsafe_code)]

use std::error::Error;

use repops_provenance::dispute::Transcript;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let referee = Transcript::decode(&std::fs::read(&path)?)?.replay()?;
        let verdict = referee.verdict().map(|verdict| (verdict.loser.to_string(), verdict.reason.word()));
        println!("{path}: {verdict:?}, {} bytes of messages", referee.bytes());
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak is known here"));
    Ok(())
}
