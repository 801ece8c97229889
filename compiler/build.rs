//! Generates the `repops` dialect's C++ from `td/Repops.td`, compiles it with the clang++ of the LLVM it is
//! linked with, and gives the linker a `libMLIR-C.so`, which Debian does not ship.
//!
//! No build dependencies, so that this script is the first to notice a missing LLVM.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

const PREFIX_VARIABLE: &str = "MLIR_SYS_220_PREFIX";
const LLVM_MAJOR: &str = "22";

fn main() {
    for path in [
        "td/Repops.td",
        "cpp/Repops.h",
        "cpp/Repops.cpp",
        "cpp/Exact.h",
        "cpp/Exact.cpp",
        "cpp/Jit.cpp",
        "cpp/Ptx.cpp",
        "build.rs",
    ] {
        println!("cargo:rerun-if-changed={path}");
    }
    for variable in [PREFIX_VARIABLE, "MLIR_SYS_LINK_SHARED"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if let Err(reason) = build() {
        eprintln!("error: {reason}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let llvm = Llvm::find()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    for (generator, file) in [
        ("-gen-dialect-decls", "RepopsDialect.h.inc"),
        ("-gen-dialect-defs", "RepopsDialect.cpp.inc"),
        ("-gen-typedef-decls", "RepopsTypes.h.inc"),
        ("-gen-typedef-defs", "RepopsTypes.cpp.inc"),
        ("-gen-op-decls", "RepopsOps.h.inc"),
        ("-gen-op-defs", "RepopsOps.cpp.inc"),
    ] {
        run(Command::new(llvm.tool("mlir-tblgen"))
            .args([generator, "td/Repops.td", "-I"])
            .arg(&llvm.include)
            .arg("-o")
            .arg(out.join(file)))?;
    }

    let archive = out.join("librepops_dialect.a");
    if archive.exists() {
        fs::remove_file(&archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    }
    let mut archiver = Command::new(llvm.tool("llvm-ar"));
    archiver.arg("crsD").arg(&archive);
    for source in ["Repops", "Exact", "Jit", "Ptx"] {
        let object = out.join(format!("{source}.o"));
        // clang++ and not the system's g++: compiled by g++, operations lose the Terminator trait.
        run(Command::new(llvm.tool("clang++"))
            .args(["-std=c++17", "-O2", "-fPIC", "-fno-rtti", "-fno-exceptions", "-w"])
            .args([
                "-D_GNU_SOURCE",
                "-D__STDC_CONSTANT_MACROS",
                "-D__STDC_FORMAT_MACROS",
                "-D__STDC_LIMIT_MACROS",
            ])
            .arg("-I")
            .arg(&out)
            .arg("-I")
            .arg(&llvm.include)
            .arg("-c")
            .arg(format!("cpp/{source}.cpp"))
            .arg("-o")
            .arg(&object))?;
        archiver.arg(object);
    }
    run(&mut archiver)?;

    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=repops_dialect");

    if env::var("MLIR_SYS_LINK_SHARED").is_ok_and(|value| value == "1") {
        let script = llvm.c_api_linker_script()?;
        let path = out.join("libMLIR-C.so");
        fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
        llvm.link_shared_libraries(&out)?;
        // For the build script of whoever links an executable: where the shared libraries are at run time.
        println!("cargo:libdir={}", llvm.lib.display());
    }
    Ok(())
}

/// An installed LLVM and MLIR.
struct Llvm {
    prefix: PathBuf,
    include: PathBuf,
    lib: PathBuf,
}

impl Llvm {
    fn find() -> Result<Self, String> {
        let advice = format!(
            "install the Debian packages libmlir-{LLVM_MAJOR}-dev mlir-{LLVM_MAJOR}-tools llvm-{LLVM_MAJOR}-dev \
             libclang1-{LLVM_MAJOR} libclang-common-{LLVM_MAJOR}-dev libpolly-{LLVM_MAJOR}-dev libzstd-dev \
             clang-{LLVM_MAJOR} (or their like), and set MLIR_SYS_220_PREFIX and TABLEGEN_220_PREFIX to \
             what `llvm-config-{LLVM_MAJOR} --prefix` prints"
        );
        let prefix = env::var_os(PREFIX_VARIABLE)
            .map(PathBuf::from)
            .ok_or_else(|| format!("MLIR {LLVM_MAJOR} is needed to build the compiler: {advice}."))?;
        let llvm = Self { include: prefix.join("include"), lib: prefix.join("lib"), prefix };
        let needed = [
            llvm.tool("mlir-tblgen"),
            llvm.tool("clang++"),
            llvm.tool("llvm-ar"),
            llvm.include.join("mlir/IR/OpBase.td"),
            llvm.include.join("mlir-c/IR.h"),
            llvm.include.join("llvm/IR/Module.h"),
        ];
        match needed.iter().find(|path| !path.exists()) {
            Some(missing) => Err(format!(
                "MLIR {LLVM_MAJOR} is needed to build the compiler, and {} does not exist: {advice}.",
                missing.display()
            )),
            None => Ok(llvm),
        }
    }

    fn tool(&self, name: &str) -> PathBuf {
        self.prefix.join("bin").join(name)
    }

    /// Links to the shared libraries in `out`: Cargo puts search paths below its target directory, and no others,
    /// where `cargo run` and `cargo test` find libraries.
    fn link_shared_libraries(&self, out: &Path) -> Result<(), String> {
        for (library, wanted) in [("libMLIR.so.", "libMLIR.so"), ("libLLVM.so.", "libLLVM.so")] {
            let entries =
                fs::read_dir(&self.lib).map_err(|error| format!("{}: {error}", self.lib.display()))?;
            let mut found = false;
            for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
                let Some(name) = path.file_name().filter(|name| name.to_string_lossy().starts_with(library))
                else {
                    continue;
                };
                found = true;
                let link = out.join(name);
                if !link.exists() {
                    std::os::unix::fs::symlink(&path, &link)
                        .map_err(|error| format!("{}: {error}", link.display()))?;
                }
            }
            if !found {
                return Err(format!(
                    "{} holds no {wanted}: install libmlir-{LLVM_MAJOR}-dev and llvm-{LLVM_MAJOR}-dev, or unset \
                     MLIR_SYS_LINK_SHARED to link statically.",
                    self.lib.display()
                ));
            }
        }
        Ok(())
    }

    /// A linker script that stands for the missing `libMLIR-C.so`: the C API's archives, resolved against the
    /// shared libraries.
    fn c_api_linker_script(&self) -> Result<String, String> {
        let entries = fs::read_dir(&self.lib).map_err(|error| format!("{}: {error}", self.lib.display()))?;
        let mut archives: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| is_c_api_archive(path))
            .collect();
        archives.sort();
        if archives.is_empty() {
            return Err(format!(
                "{} holds no libMLIRCAPI*.a: install libmlir-{LLVM_MAJOR}-dev.",
                self.lib.display()
            ));
        }
        let mut script = String::from("GROUP(\n");
        for path in &archives {
            script.push_str(&format!("  {}\n", path.display()));
        }
        script.push_str("  -lMLIR\n  -lLLVM-22\n)\n");
        Ok(script)
    }
}

fn is_c_api_archive(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("libMLIRCAPI") && name.ends_with(".a"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}
