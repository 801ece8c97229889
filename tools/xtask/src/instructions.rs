//! Instruction counts of the key kernels, by callgrind: a guard against slower code on machines whose clocks
//! are too noisy.
//!
//! Counts depend on the compiler and on nothing of the machine: valgrind knows AVX2 and no AVX-512, so AVX2 is
//! what is counted. Invariant: where valgrind, AVX2 or the compiler of the committed counts is missing,
//! nothing is asserted, and a sentence says so.

use crate::command::{self, Error, Result, capture, command, run};
use crate::setup;
use std::collections::BTreeMap;
use std::path::Path;

const COUNTS: &str = "benches/instructions.txt";
/// Allowed above the committed count, in thousandths.
const TOLERANCE_PER_MILLE: u64 = 30;

pub fn guard(bless: bool) -> Result<()> {
    if setup::find_program("valgrind").is_none() {
        println!("skipped: instructions are not counted, because valgrind is not installed");
        return Ok(());
    }
    if std::env::consts::ARCH != "x86_64" {
        println!("skipped: instructions are counted for AVX2, which this machine has not");
        return Ok(());
    }
    run(command::cargo().args(["build", "--release", "-p", "repops-benches", "--bin", "counted"]))?;
    let program = command::target_dir().join("release/counted");
    let compiler = capture(command("rustc").arg("--version"))?.trim().to_owned();
    let names = capture(command(&program).arg("list"))?;
    let mut counts = BTreeMap::new();
    for name in names.lines() {
        let count = count(&program, name)?;
        println!("{count:>14}  {name}");
        counts.insert(name.to_owned(), count);
    }
    let path = command::root().join(COUNTS);
    if bless {
        return command::write(&path, Committed { compiler, counts }.to_text().as_bytes());
    }
    if !path.is_file() {
        println!("not compared: {COUNTS} is not there; --bless writes it");
        return Ok(());
    }
    let committed = Committed::parse(&command::read_text(&path)?)?;
    if committed.compiler != compiler {
        println!(
            "not compared: {COUNTS} was made with {}, this is {compiler}; --bless writes new counts",
            committed.compiler
        );
        return Ok(());
    }
    let findings = compare(&committed.counts, &counts);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("no kernel takes more instructions than {COUNTS} allows");
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{} kernels changed; if that is meant: --instructions --bless",
        findings.len()
    )))
}

/// Instructions of one call of a kernel.
fn count(program: &Path, name: &str) -> Result<u64> {
    let out = command::target_dir().join("callgrind.out");
    let mut valgrind = command("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_call*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.env("RAYON_NUM_THREADS", "1").arg(program).arg(name);
    capture(&mut valgrind)?;
    let text = command::read_text(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    match total {
        Some(0) | None => Err(Error::Failed(format!("callgrind counted nothing of {name}"))),
        Some(total) => Ok(total),
    }
}

/// What a changed count, a new kernel and a lost one are: findings. Fewer instructions than the tolerance
/// allows are one too, so that the committed counts stay tight.
fn compare(committed: &BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, &count) in counts {
        match committed.get(name) {
            None => findings.push(format!("{name}: {count}, not among the committed counts")),
            Some(&before) => {
                let slack = before / 1000 * TOLERANCE_PER_MILLE;
                if count > before + slack {
                    findings.push(format!("{name}: {count}, more than {before}"));
                } else if count + slack < before {
                    findings.push(format!("{name}: {count}, fewer than {before}: write it down"));
                }
            }
        }
    }
    let lost = committed.keys().filter(|name| !counts.contains_key(*name));
    findings.extend(lost.map(|name| format!("{name}: committed, but counted no more")));
    findings
}

/// The committed file: the compiler, then a count and a name a line.
struct Committed {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Committed {
    fn to_text(&self) -> String {
        let lines = self.counts.iter().map(|(name, count)| format!("{count:>14}  {name}\n"));
        format!(
            "# Instructions of one call, AVX2, one thread: `cargo xtask bench --instructions --bless`.\n# {}\n",
            self.compiler
        ) + &lines.collect::<String>()
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().skip(1);
        let compiler = lines.next().and_then(|line| line.strip_prefix("# ")).unwrap_or("").to_owned();
        let count = |line: &str| {
            let (count, name) = line.trim().split_once("  ")?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let bad = |line| Error::Failed(format!("{COUNTS}: {line:?} is not a count and a name"));
        let counts = lines.map(|line| count(line).ok_or_else(|| bad(line))).collect::<Result<_>>()?;
        Ok(Self { compiler, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let counts = BTreeMap::from([("gemm 64".to_owned(), 12_345), ("softmax".to_owned(), 7)]);
        let text = Committed { compiler: "rustc 1".to_owned(), counts: counts.clone() }.to_text();
        let read = Committed::parse(&text).unwrap();
        assert_eq!((read.compiler.as_str(), read.counts), ("rustc 1", counts));
        assert!(Committed::parse("# a\n# rustc\nnonsense\n").is_err());
    }

    #[test]
    fn changes_beyond_the_tolerance_are_found() {
        let of =
            |list: &[(&str, u64)]| list.iter().map(|&(n, c)| (n.to_owned(), c)).collect::<BTreeMap<_, _>>();
        let committed = of(&[("a", 100_000), ("b", 100_000)]);
        assert!(compare(&committed, &of(&[("a", 103_000), ("b", 97_000)])).is_empty());
        assert_eq!(compare(&committed, &of(&[("a", 103_001), ("b", 96_999)])).len(), 2);
        assert_eq!(compare(&committed, &of(&[("a", 100_000), ("c", 1)])).len(), 2);
    }
}
