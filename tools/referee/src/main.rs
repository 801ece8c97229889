//! `repops-referee`: a referee and nothing else, for machines that have neither models nor a compiler.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use repops_referee::{Options, RefereeError};

/// A referee of disputes, and nothing else.
#[derive(Parser)]
#[command(version)]
enum Arguments {
    /// Decide disputes over HTTP/2; they survive the process.
    Serve {
        /// Address and port.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7340")]
        listen: String,
        /// Where disputes are kept.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Seconds for each answer.
        #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        answer_seconds: u64,
    },
    /// Play a recorded dispute again, and print its verdict as JSON.
    Replay {
        /// The transcript.
        transcript: PathBuf,
    },
}

/// Whether Ctrl-C was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn say(text: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            say(&format!("error: {problem}"));
            ExitCode::from(2)
        }
    }
}

/// Whether there is a verdict.
fn run(arguments: Arguments) -> Result<bool, RefereeError> {
    match arguments {
        Arguments::Serve { listen, data, answer_seconds } => {
            let options = Options { listen, data, answer_ms: answer_seconds * 1000 };
            // Where no handler can be installed, Ctrl-C ends the process as it always does.
            let _ = ctrlc::set_handler(|| {
                if INTERRUPTED.swap(true, Ordering::SeqCst) {
                    std::process::exit(2);
                }
            });
            repops_referee::serve(&options, &say, &|| INTERRUPTED.load(Ordering::SeqCst))?;
            Ok(true)
        }
        Arguments::Replay { transcript } => {
            let (_, referee) = repops_referee::replay(&transcript)?;
            let mut object = repops_referee::describe(&referee);
            object.insert("peak_kib".into(), repops_referee::peak_kib().into());
            // A reader that has seen enough is no error.
            let _ = writeln!(std::io::stdout(), "{}", serde_json::Value::Object(object));
            Ok(referee.verdict().is_some())
        }
    }
}
