//! Three processes in network namespaces that reach each other only through a bad network, killed at random points.
//!
//! The verdict, the step and the values that decide must be those of a run without a proxy and without kills, and the
//! referee's log must replay to the same.

use super::Subject;
use crate::command::{self, Error, Result};
use crate::repops::{Repops, input_arguments};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NET: &str = "repops-net";
/// Namespace and subnet of each side.
const SIDES: [(&str, u8); 3] = [("repops-ref", 1), ("repops-a", 2), ("repops-b", 3)];
const PORT: u16 = 7340;
const KILLS: u32 = 12;
const PATIENCE: Duration = Duration::from_secs(180);

/// Namespaces that go when they go out of scope.
struct Namespaces;

impl Namespaces {
    /// One for each process, each joined to a fourth and to nothing else; nothing is forwarded there.
    fn make() -> Result<Namespaces> {
        Namespaces::remove();
        let all = Namespaces;
        ip(&format!("netns add {NET}"))?;
        for (name, subnet) in SIDES {
            let (inner, outer) = (format!("{name}-i"), format!("{name}-o"));
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add {inner} netns {name} type veth peer name {outer} netns {NET}"))?;
            for (namespace, link, host) in [(name, &inner, 2), (NET, &outer, 1)] {
                ip(&format!("-n {namespace} addr add 10.77.{subnet}.{host}/30 dev {link}"))?;
                ip(&format!("-n {namespace} link set {link} up"))?;
            }
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(all)
    }

    fn remove() {
        for name in SIDES.iter().map(|side| side.0).chain([NET]) {
            command::succeeds(command::command("ip").args(["netns", "del", name]));
        }
    }

    /// Whether the kernel itself can delay and lose packets; then it does, besides the proxy.
    fn lose_packets() -> bool {
        SIDES.iter().all(|(name, _)| {
            let netem =
                format!("netns exec {name} tc qdisc add dev {name}-i root netem delay 20ms 10ms loss 3%");
            command::succeeds(command::command("ip").args(netem.split(' ')))
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        Namespaces::remove();
    }
}

fn ip(arguments: &str) -> Result<()> {
    command::run(command::command("ip").args(arguments.split(' ')))
}

/// A process in a namespace, killed when it goes out of scope.
struct Process(Child);

impl Process {
    fn start(namespace: &str, program: &Path, arguments: &[String]) -> Result<Process> {
        let mut command = within(namespace, program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|source| command::start_error(&command, source))?;
        Ok(Process(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: nothing is finished, flushed or said.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn within(namespace: &str, program: &Path) -> Command {
    let mut command = command::command("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

pub fn try_out(repops: &Repops, subject: &Subject, runs: u32) -> Result<()> {
    let folder = command::target_dir().join("disputes").join("network");
    command::fresh_dir(&folder)?;
    for name in ["a", "b"] {
        command::run(repops.command()?.args(["keygen", "-o"]).arg(folder.join(format!("{name}.pem"))))?;
    }
    let mut what = input_arguments(&subject.inputs);
    if !subject.further.is_empty() {
        // A generation, whose claim both parties take up.
        let receipt = folder.join("text.json");
        let mut generate = repops.command()?;
        generate.arg("generate").arg(&subject.program).args(&subject.further);
        command::run(generate.arg("--receipt").arg(&receipt).arg("--key").arg(folder.join("a.pem")))?;
        what = vec!["--generation".to_owned(), receipt.display().to_string()];
    }
    let _namespaces = Namespaces::make()?;
    let trial = Trial { repops, subject, what, folder };
    let expected = trial.run(0, false)?;
    println!("undisturbed: {}", essence(&expected));
    println!(
        "the kernel's own delay and loss (netem): {}",
        if Namespaces::lose_packets() { "on" } else { "this kernel has none" }
    );
    for run in 1..=runs {
        #[expect(clippy::disallowed_methods, reason = "for people")]
        let start = Instant::now();
        let found = trial.run(run, true)?;
        println!("run {run}: {} after {} s, {KILLS} kills", essence(&found), start.elapsed().as_secs());
        if essence(&found) != essence(&expected) {
            return Err(Error::Failed(format!("run {run} ended otherwise: {found}")));
        }
    }
    println!("{runs} runs, one verdict");
    Ok(())
}

/// What must be the same in all runs.
fn essence(found: &Value) -> String {
    let keys = ["loser", "loser_key", "reason", "position", "step", "node", "element", "term", "claimed"];
    keys.map(|key| format!("{key} {}", found[key])).join(", ")
}

struct Trial<'a> {
    repops: &'a Repops,
    subject: &'a Subject,
    /// Inputs, or a generation.
    what: Vec<String>,
    folder: PathBuf,
}

impl Trial<'_> {
    fn run(&self, number: u32, is_disturbed: bool) -> Result<Value> {
        let data = self.folder.join(format!("games-{number}"));
        let referee =
            format!("referee serve --listen 10.77.1.2:{PORT} --answer-seconds 600 --data {}", data.display());
        let side = |name: &str, subnet: u8, further: &str| {
            let inputs = self.what.join(" ");
            let file = |suffix: &str| self.folder.join(format!("{name}{suffix}")).display().to_string();
            format!(
                "provider serve {} {inputs} --claim {} --key {} --log {} --poll-ms 50 --threads 1 --checkpoint-every 16 --referee http://10.77.{subnet}.1:{PORT}{further}",
                self.subject.program.display(),
                file(".json"),
                file(".pem"),
                file(&format!("-{number}.said"))
            )
        };
        let commands = [referee, side("a", 2, ""), side("b", 3, " --fault random --seed 11")];
        let commands = commands.map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let own = std::env::current_exe().map_err(|e| Error::Failed(e.to_string()))?;
        let mut proxies = Vec::new();
        for (_, subnet) in &SIDES[1..] {
            let addresses = format!("10.77.{subnet}.1:{PORT},10.77.1.2:{PORT}");
            proxies.push(Process::start(NET, &own, &["disputes", "--proxy", &addresses].map(str::to_owned))?);
        }
        let start = |which: usize| Process::start(SIDES[which].0, self.repops.program(), &commands[which]);
        let mut running = [start(0)?, start(1)?, start(2)?];
        #[expect(clippy::disallowed_methods, reason = "how long to wait for other processes")]
        let begin = Instant::now();
        let late = || match begin.elapsed() > PATIENCE {
            true => Err(Error::Failed(format!("run {number} takes more than {} s", PATIENCE.as_secs()))),
            false => Ok(()),
        };
        let claims = ["a.json", "b.json"].map(|name| self.folder.join(name));
        let open = |further: &[&str]| {
            let mut command = within(SIDES[1].0, self.repops.program());
            command.args(["dispute", "open", "--json", "--referee", &format!("http://10.77.2.1:{PORT}")]);
            command.args(["--number", &number.to_string()]).args(further);
            for claim in &claims {
                command.arg("--claim").arg(claim);
            }
            command.stderr(Stdio::null());
            command
        };
        while command::capture(&mut open(&[])).is_err() {
            late()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut dice = u64::from(number) + 1;
        for _ in 0..if is_disturbed { KILLS } else { 0 } {
            dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            std::thread::sleep(Duration::from_millis(60 + (dice >> 33) % 700));
            let which = (dice >> 45) as usize % 3;
            drop(running[which].0.kill());
            // The address is free only when it is gone.
            drop(running[which].0.wait());
            running[which] = start(which)?;
        }
        let transcript = self.folder.join(format!("{number}.game"));
        let kept = transcript.display().to_string();
        // Whoever waits for the verdict can be killed too: it asks again.
        loop {
            late()?;
            let mut waiting = open(&["--wait", "--transcript", &kept])
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|e| Error::Failed(e.to_string()))?;
            std::thread::sleep(Duration::from_secs(2));
            let _ = waiting.kill();
            let output = waiting.wait_with_output().map_err(|e| Error::Failed(e.to_string()))?;
            if let Ok(found) = serde_json::from_slice::<Value>(&output.stdout) {
                self.replays_to(&transcript, &found)?;
                return Ok(found);
            }
        }
    }

    /// The transcript gives the same verdict by itself.
    fn replays_to(&self, transcript: &Path, found: &Value) -> Result<()> {
        let mut replay = self.repops.command()?;
        let text = command::capture(replay.args(["dispute", "replay", "--json"]).arg(transcript))?;
        let again: Value = serde_json::from_str(&text).map_err(|e| Error::Failed(e.to_string()))?;
        match essence(&again) == essence(found) {
            true => Ok(()),
            false => Err(Error::Failed(format!("{} replays to {again}", transcript.display()))),
        }
    }
}
