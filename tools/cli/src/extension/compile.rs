//! `repops compile`.

use repops_cli::arguments::Compile;
use repops_cli::{Answer, Failure, Result};

/// A build without LLVM runs, verifies and inspects.
#[cfg(not(feature = "compile"))]
pub fn compile(arguments: &Compile) -> Result<Answer> {
    Err(Failure(format!("{}: the compiler is not part of this build", arguments.model.display())))
}

#[cfg(feature = "compile")]
pub use with_compiler::compile;

#[cfg(feature = "compile")]
mod with_compiler {
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use repops::Program;
    use repops_compiler::passes::PASSES;
    use repops_compiler::{CompileOptions, compile_file};
    use repops_io::atomic;
    use serde_json::json;

    use super::*;
    use repops_cli::engine;
    use repops_cli::report::{bytes, print, print_json};
    use repops_cli::run::milliseconds;

    /// The module as it is built from the graph, before any pass.
    const BUILD: &str = "build";
    const ALL: &str = "all";

    #[expect(clippy::disallowed_methods, reason = "for people; outside of the program")]
    pub fn compile(arguments: &Compile) -> Result<Answer> {
        check_emit(arguments)?;
        // Before the work is done: is there what it is to be compared with?
        let expected = arguments.check.as_deref().map(engine::load).transpose()?;
        let start = Instant::now();
        let mut emitted = Emitted::new(arguments);
        let context = arguments.context.map(|context| context as usize);
        let options = CompileOptions {
            fuse: !arguments.no_fuse,
            layout: !arguments.no_layout,
            context,
            as_is: arguments.as_is,
        };
        let program = compile_file(&arguments.model, &options, &mut |pass, text| emitted.show(pass, text))
            .map_err(|error| named(&arguments.model, &error))?;
        emitted.finish()?;
        if let Some(expected) = expected {
            return compare(arguments, &program, &expected);
        }
        let Some(path) = &arguments.output else { return Ok(Answer::Yes) };
        atomic::write(path, |out| program.write(out))?;
        let steps: usize = program.blocks().iter().map(|b| b.steps.len()).sum();
        let size = std::fs::metadata(path).map_or(0, |m| m.len());
        if arguments.json {
            print_json(&json!({
                "program": program.digest().to_hex(),
                "file": path,
                "bytes": size,
                "steps": steps,
                "constants": program.constants().len(),
                "elapsed_ms": milliseconds(start.elapsed()),
            }));
        } else if arguments.emit.is_none() || arguments.emit_dir.is_some() {
            let ms = start.elapsed().as_millis();
            let constants = program.constants().len();
            print(&format!("{} {}", program.digest(), path.display()));
            print(&format!("{steps} steps, {constants} constants, {}, {ms} ms", bytes(size)));
        }
        Ok(Answer::Yes)
    }

    /// The error with the model's path, which some errors hold already.
    fn named(model: &Path, error: &dyn std::error::Error) -> Failure {
        let (path, text) = (model.display().to_string(), error.to_string());
        Failure(if text.starts_with(&path) { text } else { format!("{path}: {text}") })
    }

    fn check_emit(arguments: &Compile) -> Result<()> {
        let Some(wanted) = &arguments.emit else { return Ok(()) };
        if arguments.json && arguments.emit_dir.is_none() {
            return Err(Failure::new("--emit with --json needs --emit-dir"));
        }
        let mut names = vec![ALL, BUILD];
        names.extend(PASSES.iter().map(|pass| pass.name));
        if names.contains(&wanted.as_str()) {
            return Ok(());
        }
        Err(Failure(format!("--emit {wanted}: there is no such pass; there are {}", names.join(", "))))
    }

    /// Compares what was compiled with a program that is there.
    fn compare(arguments: &Compile, program: &Program, expected: &Program) -> Result<Answer> {
        let constants = expected.check_constants(repops_kernels::bytes_digest);
        let same = program.digest() == expected.digest() && constants.is_ok();
        if arguments.json {
            print_json(&json!({
                "same": same,
                "compiled": program.digest().to_hex(),
                "given": expected.digest().to_hex(),
            }));
        } else if let (true, Err(error)) = (program.digest() == expected.digest(), &constants) {
            print(&format!("different: {error}"));
        } else if same {
            print(&format!("the same: {}", program.digest()));
        } else {
            print(&format!("different: compiled {}, given {}", program.digest(), expected.digest()));
            let (ours, theirs) = (&program.header().compiler, &expected.header().compiler);
            if ours != theirs {
                print(&format!("the compilers differ: {ours}, {theirs}"));
            }
        }
        Ok(if same { Answer::Yes } else { Answer::No })
    }

    /// What `--emit` asks for: text on standard output, or files that are written at the end.
    struct Emitted<'a> {
        wanted: Option<&'a str>,
        folder: Option<&'a Path>,
        files: Vec<(PathBuf, String)>,
        shown: usize,
    }

    impl<'a> Emitted<'a> {
        fn new(arguments: &'a Compile) -> Emitted<'a> {
            Emitted {
                wanted: arguments.emit.as_deref(),
                folder: arguments.emit_dir.as_deref(),
                files: Vec::new(),
                shown: 0,
            }
        }

        fn show(&mut self, pass: &str, text: &dyn Fn() -> String) {
            let number = self.shown;
            self.shown += 1;
            if !self.wanted.is_some_and(|wanted| wanted == ALL || wanted == pass) {
                return;
            }
            match self.folder {
                Some(folder) => self.files.push((folder.join(format!("{number:02}_{pass}.mlir")), text())),
                None => print(&format!("// ----- after {pass} -----\n{}", text())),
            }
        }

        fn finish(self) -> Result<()> {
            let Some(folder) = self.folder else { return Ok(()) };
            std::fs::create_dir_all(folder).map_err(|e| Failure(format!("{}: {e}", folder.display())))?;
            let mut staged = atomic::Staged::new();
            for (path, text) in &self.files {
                staged.write(path, |out| out.write_all(text.as_bytes()))?;
            }
            Ok(staged.commit()?)
        }
    }
}
