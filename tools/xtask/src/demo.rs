//! `cargo xtask demo`: the main job on a small real model, then a cheat and how it is found.
//!
//! Invariant: everything printed as a result comes from the command line that was just built; a step that does
//! not end as it should ends the demonstration with an error.

use crate::command::{self, Error, Result, run};
use crate::repops::{self, Profile, Repops};
use crate::{magika, npy, onnx, setup};
use std::path::{Path, PathBuf};

struct Demo {
    repops: Repops,
    folder: PathBuf,
    labels: Vec<String>,
}

/// What was claimed about one file.
struct Claim {
    receipt: PathBuf,
    trace: PathBuf,
    inputs: Vec<(String, PathBuf)>,
}

pub fn show() -> Result<()> {
    println!("== Setting up");
    setup::provide_all(&setup::Options::default())?;
    println!("\n== Building (release)");
    let repops = Repops::build(Profile::Release)?;
    let folder = command::target_dir().join("demo");
    command::fresh_dir(&folder)?;
    let labels = magika::labels(&command::read(&command::root().join(magika::CONFIG))?)?;
    let demo = Demo { repops, folder, labels };

    println!("\n== Compiling magika's file-type model");
    let program = demo.folder.join("magika.rep");
    demo.repops.compile(&command::root().join(magika::MODEL), &program, &[])?;
    let key = demo.folder.join("honest.key");
    run(demo.repops.command()?.arg("keygen").arg("-o").arg(&key))?;

    println!("\n== Running it on real files, with a signed receipt for each");
    let mut claims = Vec::new();
    for file in demo.files()? {
        claims.push(demo.claim(&program, &key, &file)?);
    }
    println!("\n== Verifying the first receipt as a stranger would: by running the program again");
    let honest = claims.first().ok_or_else(|| Error::Failed("there is no file to run on".to_owned()))?;
    demo.expect_verdict(&honest.receipt, &program, &honest.inputs, 0)?;
    demo.cheat(&program, honest)
}

impl Demo {
    /// An executable, sources, texts and data that every checkout has.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let in_repository = [
            "conformance/reference.py",
            "README.md",
            "tools/xtask/src/demo.rs",
            "Cargo.toml",
            ".ci/run",
            magika::MODEL,
        ];
        let root = command::root();
        let mut files = vec![self.repops.program().to_owned()];
        files.extend(in_repository.iter().map(|name| root.join(name)).filter(|path| path.is_file()));
        Ok(files)
    }

    fn claim(&self, program: &Path, key: &Path, file: &Path) -> Result<Claim> {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = self.folder.join(&name);
        command::make_dir(&folder)?;
        let tokens = magika::input(&command::read(file)?)
            .ok_or_else(|| Error::Failed(format!("{} is too short", file.display())))?;
        let input = folder.join("bytes.npy");
        command::write(&input, &npy::int32(&[1, magika::INPUT_LEN], &tokens))?;
        let claim = Claim {
            receipt: folder.join("receipt.json"),
            trace: folder.join("run.trace"),
            inputs: vec![("bytes".to_owned(), input)],
        };
        let paths = [&claim.receipt, &claim.trace, key].map(|path| path.display().to_string());
        let arguments = ["--receipt", &paths[0], "--trace", &paths[1], "--key", &paths[2]];
        let run = self.repops.run(program, &claim.inputs, &arguments, &folder)?;
        let scores =
            run.files.values().next().ok_or_else(|| Error::Failed("the run wrote no output".to_owned()))?;
        let scores = npy::float32(&command::read(scores)?)?;
        let best = magika::best(&scores).ok_or_else(|| Error::Failed("the output is empty".to_owned()))?;
        let label = self.labels.get(best).map_or("?", String::as_str);
        println!("{name:<22} is {label:<10} score {:<12} trace root {}", scores[best], run.trace_root);
        println!("{:<22}    program {}", "", run.program);
        Ok(claim)
    }

    fn expect_verdict(
        &self,
        receipt: &Path,
        program: &Path,
        inputs: &[(String, PathBuf)],
        expected: i32,
    ) -> Result<()> {
        let mut verify = self.repops.command()?;
        verify.arg("verify").arg(receipt).arg("--program").arg(program).args(repops::input_arguments(inputs));
        let code = repops::exit_code(&mut verify)?;
        println!("exit code {code}");
        if code == expected {
            return Ok(());
        }
        Err(Error::Failed(format!("`repops verify` gave {code}, expected {expected}")))
    }

    /// Somebody serves a cheaper or doctored model under the good one's name.
    fn cheat(&self, program: &Path, honest: &Claim) -> Result<()> {
        println!("\n== A cheat: one bit of one weight is flipped");
        let folder = self.folder.join("cheat");
        let mut model = command::read(&command::root().join(magika::MODEL))?;
        let flip = onnx::flip_one_weight(&mut model)?;
        println!(
            "element {} of {}: {:#010x} becomes {:#010x}",
            flip.element, flip.tensor, flip.before, flip.after
        );
        let (cheat_model, cheat_program) = (folder.join("magika.onnx"), folder.join("magika.rep"));
        command::write(&cheat_model, &model)?;
        self.repops.compile(&cheat_model, &cheat_program, &[])?;
        let key = folder.join("cheat.key");
        run(self.repops.command()?.arg("keygen").arg("-o").arg(&key))?;
        let cheat = Claim {
            receipt: folder.join("receipt.json"),
            trace: folder.join("run.trace"),
            inputs: honest.inputs.clone(),
        };
        let paths = [&cheat.receipt, &cheat.trace, &key].map(|path| path.display().to_string());
        let arguments = ["--receipt", &paths[0], "--trace", &paths[1], "--key", &paths[2]];
        self.repops.run(&cheat_program, &cheat.inputs, &arguments, &folder)?;

        println!("\n== It signs a receipt that names the original program");
        let forged = folder.join("forged.json");
        run(setup::cargo_with_llvm()
            .args(["run", "--quiet", "--release", "-p", "repops-provenance", "--example", "forge", "--"])
            .args([&cheat.receipt, &honest.receipt, &key, &forged]))?;
        println!("\n== Verifying the forged receipt against the original program must refuse it");
        self.expect_verdict(&forged, program, &honest.inputs, 1)?;
        println!("\n== And the two traces tell which operator was not computed as claimed");
        let mut diff = self.repops.command()?;
        diff.args(["trace", "diff"]).arg(&honest.trace).arg(&cheat.trace);
        diff.arg("--program").arg(program).arg("--program-b").arg(&cheat_program);
        diff.args(repops::input_arguments(&honest.inputs));
        let code = repops::exit_code(&mut diff)?;
        println!("exit code {code}");
        if code != 1 {
            return Err(Error::Failed(format!("`repops trace diff` gave {code}, expected 1")));
        }
        println!("\nThe honest receipt was verified, the cheat was refused.");
        Ok(())
    }
}
