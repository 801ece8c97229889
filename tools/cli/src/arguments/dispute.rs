//! Arguments of disputes and audits.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Engine, Inputs};

#[derive(Subcommand)]
pub enum DisputeCommand {
    /// Play whole disputes in this process, an honest party against one that lies.
    Simulate(Box<DisputeSimulate>),
    /// Open a dispute about two claims at a referee.
    Open(DisputeOpen),
    /// Play a recorded dispute again, and give its verdict.
    Replay(DisputeReplay),
}

#[derive(Subcommand)]
pub enum ProviderCommand {
    /// Answer in every dispute of a referee that is about the claim.
    Serve(ProviderServe),
}

#[derive(Subcommand)]
pub enum RefereeCommand {
    /// Decide disputes over HTTP/2; they survive the process.
    Serve(RefereeServe),
}

#[derive(Args)]
pub struct DisputeOpen {
    /// A receipt of level `operators`; given twice. The first party brings the evidence.
    #[arg(long = "claim", value_name = "R.json", required = true)]
    pub claims: Vec<PathBuf>,
    /// Where the referee is.
    #[arg(long, value_name = "URL")]
    pub referee: String,
    /// Tells disputes about the same two claims apart.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub number: u64,
    /// Wait for the verdict.
    #[arg(long)]
    pub wait: bool,
    /// Write the transcript, which proves the verdict to anybody.
    #[arg(long, value_name = "FILE", requires = "wait")]
    pub transcript: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ProviderServe {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub inputs: Inputs,
    /// Stand for a generation: that of this receipt, which may be another's. A claim that is there and is a generation's needs none.
    #[arg(long, value_name = "R.json")]
    pub generation: Option<PathBuf>,
    /// The receipt to stand for; it is written where there is none.
    #[arg(long, value_name = "R.json")]
    pub claim: PathBuf,
    /// The key that signs; by default the user's own.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Where the referee is.
    #[arg(long, value_name = "URL", required_unless_present = "listen")]
    pub referee: Option<String>,
    /// Give the claim and openings of single steps to auditors, at this address and port.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The store of everything that was signed in disputes, on disk before it is sent; by default beside the claim, with `.said` added.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    #[command(flatten)]
    pub keep: Keep,
    /// Milliseconds between looks at a referee that is away or has no room for requests that wait; auditors wait so long at most.
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub poll_ms: u64,
    /// End once there were disputes about the claim and all are over.
    #[arg(long)]
    pub until_over: bool,
    /// After each dispute print, as JSON, the processor time that all of this process took since the last one, that of partial runs, and
    /// that of a whole run, which is made again for that.
    #[arg(long, requires = "referee")]
    pub measure: bool,
    /// Be faulty, to try disputes out: a bit is wrong in this record, or in one that the seed chooses.
    #[arg(long, value_name = "STEP|random")]
    pub fault: Option<String>,
    /// The seed of the fault.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub engine: Engine,
}

#[derive(Args)]
pub struct RefereeServe {
    /// Address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7340")]
    pub listen: String,
    /// Where disputes are kept.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Seconds for each answer.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub answer_seconds: u64,
}

/// A generation to dispute instead of a run.
#[derive(Args)]
pub struct Generation {
    /// A text that the program continues.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["chat", "tokens", "generation"])]
    pub prompt: Option<String>,
    /// A question, put into the model's chat template.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["tokens", "generation"])]
    pub chat: Option<String>,
    /// Token ids of a prompt.
    #[arg(long, value_name = "ID,..", value_delimiter = ',', conflicts_with = "generation")]
    pub tokens: Vec<u32>,
    /// The receipt of a generation.
    #[arg(long, value_name = "R.json")]
    pub generation: Option<PathBuf>,
    /// Write at most so many tokens.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub max_tokens: usize,
    /// 0: always the likeliest token.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub temperature: f32,
    /// Consider so many tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,
    /// Consider the likeliest tokens that make up this share of probability.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Consider tokens at least this likely, the likeliest counting 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f32,
}

#[derive(Args)]
pub struct DisputeSimulate {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub inputs: Inputs,
    #[command(flatten)]
    pub generation: Generation,
    /// The number of the record that is lied about, in a generation that of its position times the program's steps and
    /// that of its step; `random`: the seed chooses.
    #[arg(long, value_name = "STEP", default_value = "random")]
    pub fault: String,
    /// What is lied about: output, input, wiring, operator, attribute, constant, length, digest, stale,
    /// proof, silence, outcome, fault, path (another way through the program); of a generation output, wiring (which steps are the head), operator, length, digest,
    /// stale, proof, silence, outcome (log-probabilities), token.
    #[arg(long, value_name = "KIND", default_value = "output")]
    pub kind: String,
    /// The seed from which everything follows.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many disputes, with ascending seeds; several give a table by operator.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub count: u64,
    /// Play each dispute so often, each time after the run that a party has to make anyway; the honest party's times, and
    /// those of the runs, are medians then.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub repeat: u64,
    /// Give the table for a single dispute too.
    #[arg(long)]
    pub table: bool,
    /// Let the liar be the first party, the one that brings the evidence.
    #[arg(long)]
    pub liar_first: bool,
    /// Write the transcript of the last dispute.
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    #[command(flatten)]
    pub keep: Keep,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct DisputeReplay {
    /// The transcript.
    pub transcript: PathBuf,
    /// Write the dispute as a page.
    #[arg(long, value_name = "PAGE.html")]
    pub page: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What is kept of a run, so that a part of it need not be computed from the start.
#[derive(Args)]
pub struct Keep {
    /// Keep what later steps read after every N steps, or after every N bytes of outputs (8KiB, 4MiB, 1GiB). Without it
    /// nothing is kept, and parts are computed from the start.
    #[arg(long, value_name = "N|BYTES", value_parser = checkpoint_every)]
    pub checkpoint_every: Option<repops_provenance::dispute::Keep>,
}

impl Keep {
    pub fn of(&self) -> repops_provenance::dispute::Keep {
        self.checkpoint_every.unwrap_or_default()
    }
}

fn checkpoint_every(text: &str) -> Result<repops_provenance::dispute::Keep, String> {
    use repops_provenance::dispute::Keep;
    let units = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    let unit = units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let number = unit.map_or(text, |(number, _)| number).trim().parse::<u64>().ok().filter(|n| *n > 0);
    let number = number.ok_or("a number of steps, or of bytes with B, KiB, MiB or GiB".to_string())?;
    match unit {
        None => Ok(Keep::Steps(number)),
        Some((_, size)) => Ok(Keep::Bytes(number.checked_mul(size).ok_or("too many bytes".to_string())?)),
    }
}

#[derive(Args)]
pub struct Audit {
    /// The receipt whose trace is audited.
    #[arg(long, value_name = "X.json")]
    pub claim: PathBuf,
    /// The program that it names.
    #[arg(long, value_name = "P.rep")]
    pub program: PathBuf,
    /// Where the provider gives openings (`provider serve --listen`).
    #[arg(long, value_name = "URL")]
    pub provider: String,
    /// How many of the steps are computed again: a number, or a part of all such as 5% or 0.05.
    #[arg(long, value_name = "P", value_parser = sample)]
    pub sample: Share,
    /// The seed that chooses them; without it the operating system does.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How many steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    Count(u64),
    /// Of a million.
    Millionths(u64),
}

impl Share {
    /// Of `steps`; a part is rounded up.
    pub fn of(self, steps: u64) -> u64 {
        match self {
            Share::Count(count) => count.min(steps),
            Share::Millionths(part) => {
                let count = (u128::from(steps) * u128::from(part)).div_ceil(1_000_000);
                u64::try_from(count).map_or(steps, |count| count.min(steps))
            }
        }
    }
}

fn sample(text: &str) -> Result<Share, String> {
    let bad = || "a number of steps, or a part such as 5% or 0.05".to_string();
    let (number, places) = match text.strip_suffix('%') {
        Some(percent) => (percent, 4),
        None if text.contains('.') => (text, 6),
        None => return text.parse().map(Share::Count).map_err(|_| bad()),
    };
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    if rest.len() > places || !whole.chars().chain(rest.chars()).all(|c| c.is_ascii_digit()) {
        return Err(bad());
    }
    let digits = format!("{whole}{rest:0<places$}");
    let part = digits.parse().ok().filter(|part| (1..=1_000_000).contains(part));
    part.map(Share::Millionths).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use repops_provenance::dispute::Keep;

    #[test]
    fn parts_and_sizes() {
        assert_eq!(sample("20"), Ok(Share::Count(20)));
        assert_eq!(sample("5%").map(|s| s.of(120)), Ok(6));
        assert_eq!(sample("0.05").map(|s| s.of(121)), Ok(7));
        assert_eq!(sample("100%").map(|s| s.of(3)), Ok(3));
        for bad in ["", "%", "101%", "0%", "-1", "1.5", "5.00001%", "a"] {
            assert!(sample(bad).is_err(), "{bad}");
        }
        assert_eq!(checkpoint_every("7"), Ok(Keep::Steps(7)));
        assert_eq!(checkpoint_every("2KiB"), Ok(Keep::Bytes(2048)));
        for bad in ["0", "x", "1TB", "99999999999GiB"] {
            assert!(checkpoint_every(bad).is_err(), "{bad}");
        }
    }
}
