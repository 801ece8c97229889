//! llama.cpp's own benchmarks, built for this machine: what generation is measured beside.
//!
//! Invariant: the source is the tree that the pinned source distribution on PyPI holds; it is compiled by the LLVM that the
//! project needs anyway, because GCC 12 miscompiles its AMX path, and by cmake and ninja of the environment of the peers.

use std::path::{Path, PathBuf};

use crate::command::{self, Error, Result, command, run, run_with_retries};
use crate::setup;

const REQUIREMENT: &str = "llama-cpp-python==0.3.36";
const ARCHIVE: &str = "llama_cpp_python-0.3.36.tar.gz";
const SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";
const TREE: &str = "llama_cpp_python-0.3.36/vendor/llama.cpp";
const PROGRAMS: [&str; 2] = ["llama-bench", "llama-batched-bench"];
/// Native code for this machine, and nothing that the two programs do not need.
const SETTINGS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// Builds the programs under the target folder unless they are there, with the tools of `venv`; gives the folder that they are in.
pub fn build(venv: &Path) -> Result<PathBuf> {
    let folder = command::target_dir().join("llama");
    let programs = folder.join("build/bin");
    if PROGRAMS.iter().all(|program| programs.join(program).is_file()) {
        println!("found    {:<52} {}", "llama.cpp", programs.display());
        return Ok(programs);
    }
    let tree = folder.join(TREE);
    if !tree.is_dir() {
        unpack(venv, &folder)?;
    }
    let prefix = setup::llvm_prefix()
        .ok_or_else(|| Error::Environment("clang is missing: `cargo xtask setup`".to_owned()))?;
    let tools = venv.join("bin");
    let mut configure = command(tools.join("cmake"));
    configure.args(["-G", "Ninja", "-S"]).arg(&tree).arg("-B").arg(folder.join("build")).args(SETTINGS);
    for (setting, program) in [
        ("CMAKE_MAKE_PROGRAM", tools.join("ninja")),
        ("CMAKE_C_COMPILER", prefix.join("bin/clang")),
        ("CMAKE_CXX_COMPILER", prefix.join("bin/clang++")),
    ] {
        configure.arg(format!("-D{setting}={}", program.display()));
    }
    run(&mut configure)?;
    let mut build = command(tools.join("cmake"));
    run(build.arg("--build").arg(folder.join("build")).arg("--target").args(PROGRAMS))?;
    Ok(programs)
}

/// Fetches the source distribution, compares its digest and unpacks it.
fn unpack(venv: &Path, folder: &Path) -> Result<()> {
    command::fresh_dir(folder)?;
    let download = || {
        // This one alone from source: its build tools come as wheels.
        let mut pip = setup::pip_of(&venv.join("bin/python"));
        pip.args(["download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--dest"]);
        pip.arg(folder).arg(REQUIREMENT);
        pip
    };
    run_with_retries(download, &[5, 20])?;
    let archive = folder.join(ARCHIVE);
    let found = command::sha256(&command::read(&archive)?);
    if found != SHA256 {
        return Err(Error::Failed(format!("{} has sha256 {found}, not {SHA256}", archive.display())));
    }
    run(command("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder))?;
    std::fs::remove_file(&archive).map_err(|source| Error::file("removing", &archive, source))
}
