//! `cargo xtask cuda audit`: what NVIDIA's assembler makes of the shipped PTX, for every architecture.
//!
//! The assembler and the disassembler come as Python packages into an environment of their own; no GPU is needed.
//! Invariant: the table that is written says of every kernel what was found; one that is wrong fails the audit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::chains::{self, Chains};
use super::sass::{self, Operations, Verdict};
use super::{files, generated, shown};
use crate::command::{self, Error, Result, command};
use crate::setup;

/// Architectures that are checked: from Turing to Blackwell.
const ARCHITECTURES: [u32; 9] = [75, 80, 86, 87, 89, 90, 100, 103, 120];
const REQUIREMENTS: &str = "tools/xtask/cuda.txt";
/// Modules whose sums of products are chains.
const CONTRACTIONS: [&str; 4] = ["attention", "conv", "gemm", "gemv"];
const TABLE: &str = "kernels/cuda/AUDIT.md";

/// What of a kernel the table says.
struct Row {
    registers: u32,
    shared: u32,
    spills: u32,
    verdict: Verdict,
    chains: Chains,
}

/// One PTX file for one architecture.
pub struct Job {
    pub ptx: PathBuf,
    pub architecture: u32,
    /// The text is for this architecture alone: `sm_90a`.
    is_specific: bool,
}

impl Job {
    fn module(&self) -> String {
        self.ptx.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn cubin(&self, scratch: &Path) -> PathBuf {
        scratch.join(format!("{}.{}.cubin", self.module(), self.architecture))
    }
}

/// Rows by module, kernel and architecture.
type Table = BTreeMap<(String, String), BTreeMap<u32, Row>>;

pub fn audit(names: &[String]) -> Result<()> {
    let table = examined(&jobs(names)?)?;
    let wrong = report(&table);
    if names.is_empty() {
        command::write(&command::root().join(TABLE), page(&table).as_bytes())?;
        println!("wrote {TABLE}");
    } else {
        print!("{}", rows_of(&table));
    }
    concluded(&table, wrong)?;
    println!("order of terms: {}", order(&table));
    Ok(())
}

/// The same of the code of fused steps that a file holds; nothing is written.
pub fn audit_regions(file: &Path) -> Result<()> {
    let wrong = |what: &str| {
        Error::Failed(format!("{}: {what}; `repops region-code` writes such files", file.display()))
    };
    let code: serde_json::Value =
        serde_json::from_str(&command::read_text(file)?).map_err(|error| wrong(&error.to_string()))?;
    let regions = code["regions"].as_object().ok_or_else(|| wrong("no regions in it"))?;
    let folder = command::target_dir().join("cuda-audit/regions");
    command::make_dir(&folder)?;
    let mut jobs = Vec::new();
    for (digest, region) in regions {
        let is_name = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let text =
            region["ptx"].as_str().filter(|_| is_name).ok_or_else(|| wrong("a region without a text"))?;
        let ptx = folder.join(format!("region-{}.ptx", &digest[..16]));
        command::write(&ptx, text.as_bytes())?;
        jobs.extend(architectures_of("75").map(|architecture| Job {
            ptx: ptx.clone(),
            architecture,
            is_specific: false,
        }));
    }
    let table = examined(&jobs)?;
    let wrong = report(&table);
    concluded(&table, wrong)
}

fn examined(jobs: &[Job]) -> Result<Table> {
    let tools = Tools::provide()?;
    let mut table = Table::new();
    for rows in each(jobs, |job, scratch| tools.examine(job, scratch))? {
        for (kernel, architecture, row) in rows {
            table.entry(kernel).or_default().insert(architecture, row);
        }
    }
    Ok(table)
}

fn concluded(table: &Table, wrong: usize) -> Result<()> {
    if wrong > 0 {
        return Err(Error::Failed(format!("cuda audit: {wrong} findings")));
    }
    println!("cuda audit: {} kernels on {} architectures, nothing wrong", table.len(), ARCHITECTURES.len());
    Ok(())
}

/// What is done with each job, in their order, by as many threads as there are processors; what is assembled is kept.
pub fn each<T: Send>(jobs: &[Job], work: impl Fn(&Job, &Path) -> Result<T> + Sync) -> Result<Vec<T>> {
    let scratch = command::target_dir().join("cuda-audit");
    command::make_dir(&scratch)?;
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let mut done: Vec<(usize, Result<T>)> = std::thread::scope(|scope| {
        let take = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(at) else { return done };
                done.push((at, work(job, &scratch)));
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    if done.len() != jobs.len() {
        return Err(Error::Failed("cuda: a thread gave up".to_owned()));
    }
    done.into_iter().map(|(_, result)| result).collect()
}

/// PTX for compute_80 is assembled for 80 and above, that for sm_90a for 90 alone.
pub fn jobs(names: &[String]) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for ptx in files(&generated(), "ptx")? {
        let stem = ptx.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (name, target) = stem.split_once('.').unwrap_or((&stem, "75"));
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let fits = architectures_of(target);
            let is_specific = target.ends_with('a');
            jobs.extend(fits.map(|architecture| Job { ptx: ptx.clone(), architecture, is_specific }));
        }
    }
    Ok(jobs)
}

/// The architectures that run PTX for a target.
fn architectures_of(target: &str) -> impl Iterator<Item = u32> {
    let is_specific = target.ends_with('a');
    let least = target.trim_end_matches('a').parse().unwrap_or(0);
    let fits = move |architecture: &u32| *architecture == least || (*architecture > least && !is_specific);
    ARCHITECTURES.into_iter().filter(fits)
}

pub struct Tools {
    assembler: PathBuf,
    disassembler: PathBuf,
}

impl Tools {
    pub fn provide() -> Result<Tools> {
        let venv = command::target_dir().join("cuda-venv");
        setup::environment(&venv, REQUIREMENTS, false, "`cargo xtask cuda audit`")?;
        let find = |tail: &str| {
            let lib = venv.join("lib");
            let entries = std::fs::read_dir(&lib).map_err(|source| Error::file("listing", &lib, source))?;
            let found = entries.flatten().map(|entry| entry.path().join("site-packages/nvidia").join(tail));
            found
                .into_iter()
                .find(|path| path.is_file())
                .ok_or_else(|| Error::Environment(format!("the packages of {REQUIREMENTS} have no {tail}")))
        };
        Ok(Tools { assembler: find("cuda_nvcc/bin/ptxas")?, disassembler: find("cu13/bin/nvdisasm")? })
    }

    /// Assembles; where the machine code is.
    pub fn cubin(&self, job: &Job, scratch: &Path) -> Result<PathBuf> {
        let cubin = job.cubin(scratch);
        self.assemble(job, &command::read_text(&job.ptx)?, &cubin)?;
        Ok(cubin)
    }

    /// Assembles, takes apart, counts.
    fn examine(&self, job: &Job, scratch: &Path) -> Result<Vec<((String, String), u32, Row)>> {
        let module = job.module();
        let cubin = job.cubin(scratch);
        let text = command::read_text(&job.ptx)?;
        let said = self.assemble(job, &text, &cubin)?;
        // Products of warpgroups that wait for one another are right, and slow.
        if said.contains("wgmma.mma_async instructions are serialized") {
            return Err(Error::Failed(format!("{}: {said}", shown(&job.ptx))));
        }
        let uses = resources(&said);
        let sass = command::capture(command(&self.disassembler).arg("-c").arg(&cubin))?;
        let code = sass::of_sass(&sass);
        let orders = chains::of_sass(&sass);
        let is_contraction = CONTRACTIONS.contains(&module.split('.').next().unwrap_or(""));
        let wanted = sass::of_ptx(&text)
            .map_err(|what| Error::Failed(format!("{}: {what} has no rounding", shown(&job.ptx))))?;
        let none = Operations::default();
        let rows = wanted.keys().map(|kernel| {
            let verdict = match code.get(kernel) {
                Some(code) => sass::compare(wanted.get(kernel).unwrap_or(&none), code),
                None => Verdict::Wrong("not in the machine code".to_owned()),
            };
            let chains = orders.get(kernel).filter(|_| is_contraction).cloned().unwrap_or_default();
            let verdict = match chains.wrong.first() {
                Some(instruction) => Verdict::Wrong(format!("out of order: `{instruction}`")),
                None => verdict,
            };
            let (registers, shared, spills) = uses.get(kernel).copied().unwrap_or_default();
            let row = Row { registers, shared, spills, verdict, chains };
            ((module.clone(), kernel.clone()), job.architecture, row)
        });
        Ok(rows.collect())
    }
}

impl Tools {
    /// Writes the machine code unless it is there for this very text, and gives what the assembler said.
    fn assemble(&self, job: &Job, text: &str, cubin: &Path) -> Result<String> {
        let log = cubin.with_extension("log");
        let stamp = format!("{}\n", command::sha256(text.as_bytes()));
        if let Ok(known) = std::fs::read_to_string(&log)
            && let Some(said) = known.strip_prefix(&stamp)
            && cubin.is_file()
        {
            return Ok(said.to_owned());
        }
        let mut assembler = command(&self.assembler);
        let specific = if job.is_specific { "a" } else { "" };
        assembler
            .arg(format!("-arch=sm_{}{specific}", job.architecture))
            .arg("-v")
            .arg(&job.ptx)
            .arg("-o")
            .arg(cubin);
        let output = assembler.output().map_err(|source| command::start_error(&assembler, source))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(Error::Failed(format!("{}: {said}", shown(&job.ptx))));
        }
        command::write(&log, format!("{stamp}{said}").as_bytes())?;
        Ok(said)
    }
}

/// Registers, bytes of shared memory and of spills of each kernel, as the assembler tells them.
fn resources(said: &str) -> BTreeMap<String, (u32, u32, u32)> {
    let mut found: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    let mut kernel = String::new();
    let before = |line: &str, what: &str| -> u32 {
        let words: Vec<&str> = line.split(what).next().unwrap_or("").split_whitespace().collect();
        if line.contains(what) { words.last().and_then(|word| word.parse().ok()).unwrap_or(0) } else { 0 }
    };
    for line in said.lines() {
        if let Some(name) = line.split("Compiling entry function '").nth(1) {
            kernel = name.split('\'').next().unwrap_or("").to_owned();
        }
        let entry = found.entry(kernel.clone()).or_default();
        if line.contains(" registers") {
            entry.0 = before(line, " registers");
            entry.1 = before(line, " bytes smem");
        }
        if line.contains("spill stores") {
            entry.2 = before(line, " bytes spill stores") + before(line, " bytes spill loads");
        }
    }
    found
}

/// Prints what is wrong, and counts it.
fn report(table: &Table) -> usize {
    let mut wrong = 0;
    for ((module, kernel), rows) in table {
        for (architecture, row) in rows {
            if let Verdict::Wrong(what) = &row.verdict {
                println!("error: {module}, {kernel}, sm_{architecture}: {what}");
                wrong += 1;
            }
        }
    }
    wrong
}

/// What was found of the order of terms in all contractions together.
fn order(table: &Table) -> String {
    let rows = || table.values().flat_map(BTreeMap::values);
    let sum = |count: fn(&Chains) -> u32| rows().map(|row| u64::from(count(&row.chains))).sum::<u64>();
    let wrong = rows().map(|row| row.chains.wrong.len()).sum::<usize>();
    let of = rows().filter(|row| row.chains.links > 0).count();
    format!(
        "in {of} kernels' codes of {} {} fused multiply-adds take the result of another one as it is; of {} of them the code tells how far the loads \
         of their factors are apart, and {wrong} go backwards or stay; {} results are continued twice. How the PTX orders them the \
         interpreter checks by their bits",
        CONTRACTIONS.join(", "),
        sum(|chains| chains.links),
        sum(|chains| chains.known),
        sum(|chains| chains.forked),
    )
}

fn page(table: &Table) -> String {
    let mut page = String::from(
        "# Audit of the machine code\n\n\
         Written by `cargo xtask cuda audit`: every kernel's PTX, assembled by NVIDIA's ptxas 12.9 for each architecture and taken apart again.\n\
         A cell has the registers of a thread, `s` with the bytes of spilled registers if there are any, and the verdict:\n\n\
         - `=`: as many additions, products and fused multiply-adds, in f32 and f64, as the PTX has, besides those that a division or a \
         root is made of. So nothing was fused, and nothing left out.\n\
         - `+`: loops were unrolled, so that there are more of each; no operation of a kind that the PTX has not.\n\
         - `!`: neither; the audit fails.\n\n\
         In all of them nothing flushes subnormals but the assembler's own code of divisions and roots, no function is taken from a table (MUFU is a seed of \
         divisions and roots alone), no float is multiplied on tensor cores, and no float is added atomically.\n\
         The order of sums of products: CHAINS.\n\n",
    )
    .replace("CHAINS", &order(table));
    let heads: Vec<String> = ARCHITECTURES.iter().map(|architecture| format!("sm_{architecture}")).collect();
    page += &format!("| module | kernel | shared bytes | {} |\n", heads.join(" | "));
    page += &format!("|---|---|---|{}\n", "---|".repeat(heads.len()));
    page + &rows_of(table)
}

/// The rows of the table.
fn rows_of(table: &Table) -> String {
    let mut page = String::new();
    for ((module, kernel), rows) in table {
        let cells: Vec<String> = ARCHITECTURES
            .iter()
            .map(|architecture| match rows.get(architecture) {
                None => String::new(),
                Some(row) => {
                    let mark = match row.verdict {
                        Verdict::Equal => "=",
                        Verdict::Unrolled => "+",
                        Verdict::Wrong(_) => "!",
                    };
                    let spills = if row.spills > 0 { format!(" s{}", row.spills) } else { String::new() };
                    format!("{}{spills} {mark}", row.registers)
                }
            })
            .collect();
        let shared = rows.values().map(|row| row.shared).max().unwrap_or(0);
        page += &format!("| {module} | {kernel} | {shared} | {} |\n", cells.join(" | "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_runs_on_newer_architectures_unless_it_is_specific() {
        assert_eq!(architectures_of("80").next(), Some(80));
        assert_eq!(architectures_of("80").count(), ARCHITECTURES.len() - 1);
        assert_eq!(architectures_of("90a").collect::<Vec<_>>(), [90]);
        let jobs = jobs(&["igemm_wgmma".to_owned()]).unwrap();
        assert!(jobs.len() == 1 && jobs[0].architecture == 90 && jobs[0].is_specific);
    }

    #[test]
    fn what_the_assembler_tells_is_understood() {
        let said = "ptxas info    : Compiling entry function 'f' for 'sm_90'\n\
                    ptxas info    : Function properties for f\n\
                    \u{20}   8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
                    ptxas info    : Used 47 registers, used 1 barriers, 4096 bytes smem\n";
        assert_eq!(resources(said)["f"], (47, 4096, 16));
    }
}
