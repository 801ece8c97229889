//! What a dispute takes of the processor of an honest party's whole process, with transport, log and everything else.
//!
//! Three processes of one machine: a referee, a provider that measures itself (`--measure`), and one after the other liars with a fault
//! at a random step. Invariant: a dispute that the honest party does not win fails the task.

use super::{Subject, hundredths, tenths};
use crate::command::{self, Error, Result};
use crate::repops::{Repops, input_arguments};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DISPUTES: u32 = 20;
/// For a liar to load its program and to run it.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(50);

/// A process, killed when it goes out of scope.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Result<Process> {
        let child = command.spawn().map_err(|source| command::start_error(&command, source))?;
        Ok(Process(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The heading of [`row`]s.
pub fn heading() -> &'static str {
    "\n## The whole process of a party\n\n\
     Processor time of an honest `repops provider serve` over HTTP/2, one thread for runs, by its own clock of the process (`--measure`): transport, its log on disk, the waiting in\n\
     between and all else that the process does, from the end of one dispute to that of the next; each of a random fault with another party. The first dispute, which has the connection to make, is in the mean. \
     *All else* is what is left without the partial run; a *run* one with its hashes, three of them after each dispute. Referee and liar are on the same machine.\n\n\
     | | disputes | rounds, mean | a run, ms, median | partial run, ms, median | all else, ms, median | mean | least | of a run, median |\n\
     |---|---|---|---|---|---|---|---|---|\n"
}

/// What disputes about a subject take.
#[expect(clippy::float_arithmetic, reason = "statistics, for people")]
pub fn row(repops: &Repops, subject: &Subject) -> Result<String> {
    let folder = command::target_dir().join("disputes").join("party");
    command::fresh_dir(&folder)?;
    let file = |name: &str| folder.join(name);
    for name in ["a", "b"] {
        command::run(repops.command()?.args(["keygen", "-o"]).arg(file(&format!("{name}.pem"))))?;
    }
    let what = match subject.further.is_empty() {
        true => input_arguments(&subject.inputs),
        false => {
            let mut generate = repops.command()?;
            generate.arg("generate").arg(&subject.program).args(&subject.further);
            command::run(generate.arg("--receipt").arg(file("text.json")).arg("--key").arg(file("a.pem")))?;
            vec!["--generation".to_owned(), file("text.json").display().to_string()]
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = listener.map_err(|error| Error::Failed(error.to_string()))?;
    let url = format!("http://{address}");
    let quiet = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    };
    let mut referee = repops.command()?;
    referee.args(["referee", "serve", "--answer-seconds", "300", "--listen"]).arg(address.to_string());
    referee.arg("--data").arg(file("games"));
    quiet(&mut referee);
    let _referee = Process::start(referee)?;
    let provider = |name: &str, key: &str, further: &[&str]| -> Result<Command> {
        let mut command = repops.command()?;
        command.args(["provider", "serve"]).arg(&subject.program).args(&what);
        command.arg("--claim").arg(file(&format!("{name}.json"))).arg("--key").arg(file(key));
        command.args(["--referee", &url, "--threads", "1"]).args(further);
        quiet(&mut command);
        Ok(command)
    };
    let mut honest = provider("a", "a.pem", &["--measure"])?;
    honest.stdout(Stdio::piped());
    let mut honest = Process::start(honest)?;
    let said = honest.0.stdout.take().ok_or_else(|| Error::Failed("the provider says nothing".to_owned()))?;
    let mut lines = BufReader::new(said).lines();
    let (mut all, mut runs, mut partial, mut rounds) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for seed in 0..DISPUTES {
        let (name, seed) = (format!("liar-{seed}"), seed.to_string());
        let _liar = Process::start(provider(&name, "b.pem", &["--fault", "random", "--seed", &seed])?)?;
        let claims = [file("a.json"), file(&format!("{name}.json"))];
        wait_for(&claims)?;
        let mut open = repops.command()?;
        open.args(["dispute", "open", "--wait", "--json", "--referee", &url]);
        for claim in &claims {
            open.arg("--claim").arg(claim);
        }
        open.arg("--transcript").arg(file("last.game"));
        let found = command::capture(&mut open)?;
        let found: Value = parsed(&found)?;
        if found["loser"] != "second" {
            return Err(Error::Failed(format!("{}: the liar did not lose: {found}", subject.name)));
        }
        let line = lines.next().and_then(|line| line.ok());
        let line = line.ok_or_else(|| Error::Failed("the provider has ended".to_owned()))?;
        let took = parsed(&line)?;
        let number = |key: &str| took[key].as_f64().unwrap_or(f64::NAN);
        all.push(number("processor_ms") - number("rerun_ms"));
        partial.push(number("rerun_ms"));
        rounds += number("rounds");
        runs.extend(took["run_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64));
    }
    let mean = all.iter().fold(0.0, |sum, time| sum + time) / f64::from(DISPUTES);
    let (run, rerun, own) = (median(&mut runs), median(&mut partial), median(&mut all));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| {}, {} | {DISPUTES} | {} | {} | {} | {} | {} | {} | {} % |",
        subject.name,
        subject.shape,
        tenths(&(rounds / f64::from(DISPUTES)).into()),
        tenths(&run.into()),
        tenths(&rerun.into()),
        hundredths(&own.into()),
        hundredths(&mean.into()),
        hundredths(&all[0].into()),
        tenths(&(100.0 * own / run).into()),
    );
    print!("{text}");
    Ok(text)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text.trim()).map_err(|error| Error::Failed(error.to_string()))
}

/// Until the files are there.
fn wait_for(files: &[impl AsRef<Path>]) -> Result<()> {
    let mut left = PATIENCE;
    while !files.iter().all(|file| file.as_ref().exists()) {
        left = left.checked_sub(LOOK).ok_or_else(|| Error::Failed("a provider makes no claim".to_owned()))?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}
