//! `cargo xtask setup`: finds what the build and the tests need, and installs it where it may.
//!
//! Invariant: nothing is installed except through the system's own package manager and, for Python packages,
//! into a virtual environment under the target folder. Never touches a Rust installation except by
//! `rustup target add` when Debian's cross packages are not to be had.

use crate::command::{self, Error, Result, capture, command, run, run_with_retries, succeeds};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The LLVM release that the compiler's bindings are made for.
pub const LLVM_MAJOR: &str = "22";
/// The variables by which the bindings' build scripts are told of the prefix.
const PREFIX_VARIABLES: [&str; 3] = ["MLIR_SYS_220_PREFIX", "TABLEGEN_220_PREFIX", "LLVM_SYS_221_PREFIX"];

#[derive(clap::Args, Clone, Copy, Default)]
pub struct Options {
    /// Only look and report; install nothing.
    #[arg(long)]
    pub check: bool,
    /// Also what builds and runs aarch64 programs on an x86-64 machine.
    #[arg(long)]
    pub aarch64: bool,
    /// Also Python with onnx and onnxruntime, for tests that compare and for fetching models.
    #[arg(long)]
    pub python: bool,
}

/// One thing that is needed.
struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    found: fn() -> Option<String>,
}

const BUILD_NEEDS: &[Need] = &[
    Need { what: "C and C++ compilers and linker", packages: &["build-essential"], found: find_compilers },
    Need {
        what: "LLVM 22 and MLIR 22 (libraries, headers, mlir-tblgen)",
        packages: &["libmlir-22-dev", "mlir-22-tools", "llvm-22-dev"],
        found: || llvm_prefix().map(|prefix| prefix.display().to_string()),
    },
    Need { what: "Polly's libraries of LLVM 22", packages: &["libpolly-22-dev"], found: find_polly },
    Need {
        what: "libclang 22 and its headers (stddef.h)",
        packages: &["libclang1-22", "libclang-common-22-dev"],
        found: find_libclang,
    },
    Need { what: "clang++ 22", packages: &["clang-22"], found: find_clang },
    // LLVM's libraries ask for these two; its packages do not bring zlib's.
    Need { what: "zstd development files", packages: &["libzstd-dev"], found: || find_library("zstd") },
    Need { what: "zlib development files", packages: &["zlib1g-dev"], found: || find_library("z") },
];

const PYTHON_NEEDS: &[Need] = &[Need {
    what: "Python 3 with venv and pip",
    packages: &["python3", "python3-venv", "python3-pip"],
    found: find_python,
}];

const AARCH64_NEEDS: &[Need] = &[
    Need {
        what: "aarch64 linker and C library",
        packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        found: || find_program("aarch64-linux-gnu-gcc"),
    },
    Need {
        what: "qemu-aarch64",
        packages: &["qemu-user"],
        found: || find_program("qemu-aarch64").or_else(|| find_program("qemu-aarch64-static")),
    },
    Need {
        what: "Rust's standard library for aarch64",
        // Both architectures' libraries must be named: the first is what Debian's rustc itself needs.
        packages: &["rustc-web", "cargo-web", "libstd-rust-web-dev", "libstd-rust-web-dev:arm64"],
        found: || aarch64_rustc().map(|rustc| rustc.describe()),
    },
];

pub fn provide_all(options: &Options) -> Result<()> {
    provide("to build", BUILD_NEEDS, options.check, false)?;
    if let Some(prefix) = llvm_prefix()
        && prefix != default_prefix()
    {
        println!("LLVM is not at {}: for plain `cargo build`, set", default_prefix().display());
        for variable in PREFIX_VARIABLES {
            println!("    export {variable}={}", prefix.display());
        }
    }
    if options.aarch64 {
        provide_aarch64(options.check)?;
    }
    if options.python {
        provide("to compare with ONNX Runtime and to fetch models", PYTHON_NEEDS, options.check, false)?;
        python(options.check)?;
    }
    Ok(())
}

/// A `cargo` that knows where LLVM is, wherever that may be.
pub fn cargo_with_llvm() -> Command {
    let mut cargo = command::cargo();
    if let Some(prefix) = llvm_prefix() {
        for variable in PREFIX_VARIABLES {
            cargo.env(variable, &prefix);
        }
    }
    cargo
}

/// Where programs that were not linked by the workspace's own build scripts find MLIR's shared library.
pub fn library_path() -> std::ffi::OsString {
    let ours = llvm_prefix().map(|prefix| prefix.join("lib"));
    let present = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let places = ours.into_iter().chain(std::env::split_paths(&present));
    std::env::join_paths(places.filter(|place| !place.as_os_str().is_empty())).unwrap_or_default()
}

/// Reports each need and has the missing ones installed, or fails with the sentence that says what to do.
fn provide(purpose: &str, needs: &'static [Need], check_only: bool, foreign_arm64: bool) -> Result<()> {
    let missing = report(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    if check_only {
        return Err(Error::Environment(advice(purpose, &missing, &packages)));
    }
    let Some(rights) = Rights::of_this_user() else {
        return Err(Error::Environment(advice(purpose, &missing, &packages)));
    };
    install(rights, &packages, foreign_arm64)
        .map_err(|error| Error::Environment(format!("{error}\n{}", advice(purpose, &missing, &packages))))?;
    let still = report(needs);
    if still.is_empty() {
        return Ok(());
    }
    Err(Error::Environment(advice(purpose, &still, &packages)))
}

fn report(needs: &'static [Need]) -> Vec<&'static Need> {
    let mut missing = Vec::new();
    for need in needs {
        match (need.found)() {
            Some(place) => println!("found    {:<52} {place}", need.what),
            None => {
                println!("missing  {}", need.what);
                missing.push(need);
            }
        }
    }
    missing
}

fn advice(purpose: &str, missing: &[&Need], packages: &[&str]) -> String {
    let list: Vec<&str> = missing.iter().map(|need| need.what).collect();
    let foreign = if packages.iter().any(|package| package.ends_with(":arm64")) {
        "dpkg --add-architecture arm64 && "
    } else {
        ""
    };
    let mut text = format!(
        "needed {purpose} and not found: {}.\n\
         On Debian 12, as root:  {foreign}apt-get update && apt-get install --no-install-recommends {}\n",
        list.join("; "),
        packages.join(" "),
    );
    if missing.iter().any(|need| BUILD_NEEDS.iter().any(|build| build.what == need.what)) {
        text += &format!(
            "Elsewhere: install LLVM and MLIR {LLVM_MAJOR} (with clang, libclang, Polly, zstd and zlib) by other means and \
             set\n{} to the prefix, the folder that `llvm-config --prefix` prints; the other things come under the \
             names\nthat your system gives them.",
            PREFIX_VARIABLES[0],
        );
    } else {
        text += "Elsewhere they come under the names that your system gives them.";
    }
    text
}

/// How this user may install packages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn of_this_user() -> Option<Self> {
        find_program("apt-get")?;
        if capture(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
            return Some(Self::Root);
        }
        succeeds(command("sudo").args(["-n", "true"])).then_some(Self::Sudo)
    }

    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::Root => command(program),
            Self::Sudo => {
                let mut sudo = command("sudo");
                sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", program]);
                sudo
            }
        };
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn apt_get(self, words: &[&str]) -> Command {
        let mut apt = self.command("apt-get");
        apt.args(["-q", "-y", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]).args(words);
        apt
    }
}

fn install(rights: Rights, packages: &[&str], foreign_arm64: bool) -> Result<()> {
    if foreign_arm64 && !capture(command("dpkg").arg("--print-foreign-architectures"))?.contains("arm64") {
        run(rights.command("dpkg").args(["--add-architecture", "arm64"]))?;
    }
    run_with_retries(|| rights.apt_get(&["update"]), &[5, 20])?;
    for package in packages {
        let shown = capture(command("apt-cache").args(["show", "--no-all-versions", package]));
        if !shown.is_ok_and(|text| text.contains("Package:")) {
            return Err(Error::Environment(format!(
                "this system's package registry has no `{package}` (Debian 12 has it)"
            )));
        }
    }
    let words = [&["install", "--no-install-recommends"], packages].concat();
    run_with_retries(|| rights.apt_get(&words), &[5, 20])
}

// --- LLVM ------------------------------------------------------------------------------------------------

fn default_prefix() -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{LLVM_MAJOR}"))
}

/// The first prefix that holds LLVM and MLIR of the right release: the variable, Debian's place, llvm-config.
pub fn llvm_prefix() -> Option<PathBuf> {
    let named = std::env::var_os(PREFIX_VARIABLES[0]).map(PathBuf::from);
    let versioned = format!("llvm-config-{LLVM_MAJOR}");
    named
        .filter(|prefix| holds_mlir(prefix))
        .or_else(|| Some(default_prefix()).filter(|prefix| holds_mlir(prefix)))
        .or_else(|| {
            [versioned.as_str(), "llvm-config"]
                .iter()
                .filter_map(|program| capture(command(program).arg("--prefix")).ok())
                .map(|prefix| PathBuf::from(prefix.trim()))
                .find(|prefix| holds_mlir(prefix))
        })
}

fn holds_mlir(prefix: &Path) -> bool {
    prefix.join("include/mlir-c/IR.h").is_file()
        && prefix.join("bin/mlir-tblgen").is_file()
        && prefix.join("lib/libMLIRCAPIIR.a").is_file()
        && capture(command(prefix.join("bin/llvm-config")).arg("--version"))
            .is_ok_and(|version| version.trim().split('.').next() == Some(LLVM_MAJOR))
}

fn in_prefix(relative: &str) -> Option<String> {
    let path = llvm_prefix()?.join(relative);
    path.exists().then(|| path.display().to_string())
}

fn find_polly() -> Option<String> {
    in_prefix("lib/libPolly.a")
}

fn find_libclang() -> Option<String> {
    in_prefix(&format!("lib/clang/{LLVM_MAJOR}/include/stddef.h"))?;
    let lib = llvm_prefix()?.join("lib");
    let found =
        file_names(&lib).into_iter().find(|name| name.starts_with("libclang") && name.contains(".so"))?;
    Some(lib.join(found).display().to_string())
}

fn find_clang() -> Option<String> {
    in_prefix("bin/clang++").or_else(|| find_program(&format!("clang++-{LLVM_MAJOR}")))
}

fn find_library(name: &str) -> Option<String> {
    let file = format!("lib{name}.so");
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let places = [
        PathBuf::from("/usr/lib").join(multiarch),
        "/usr/lib64".into(),
        "/usr/lib".into(),
        "/usr/local/lib".into(),
    ];
    let library = places.iter().map(|place| place.join(&file)).find(|path| path.exists());
    library.map(|path| path.display().to_string()).or_else(|| in_prefix(&format!("lib/{file}")))
}

/// Under the names that Rust (`cc`) and the bindings' build scripts (`c++`) call.
fn find_compilers() -> Option<String> {
    find_program("cc")?;
    find_program("c++")
}

fn file_names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The first program of that name on the search path.
pub fn find_program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}

// --- aarch64 ---------------------------------------------------------------------------------------------

pub const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// A compiler that has the aarch64 standard library.
pub enum Aarch64Rustc {
    /// The current toolchain has the target (`rustup target add`).
    Current,
    /// Debian's, beside the current one.
    Debian { cargo: PathBuf, rustc: PathBuf },
}

impl Aarch64Rustc {
    fn describe(&self) -> String {
        match self {
            Self::Current => "the current toolchain's".to_owned(),
            Self::Debian { rustc, .. } => rustc.display().to_string(),
        }
    }
}

/// Debian's compiler where it has the target, else the current toolchain where that has it.
pub fn aarch64_rustc() -> Option<Aarch64Rustc> {
    let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    if has_target(&mut command("rustc")) {
        return Some(Aarch64Rustc::Current);
    }
    (cargo.is_file() && rustc.is_file() && has_target(&mut command(&rustc)))
        .then_some(Aarch64Rustc::Debian { cargo, rustc })
}

fn has_target(rustc: &mut Command) -> bool {
    let Ok(sysroot) = capture(rustc.args(["--print", "sysroot"])) else { return false };
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(AARCH64).join("lib");
    file_names(&library).iter().any(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
}

fn provide_aarch64(check_only: bool) -> Result<()> {
    if std::env::consts::ARCH == "aarch64" {
        println!("found    {:<52} this machine", "aarch64");
        return Ok(());
    }
    // Only Debian's own archive serves arm64 beside amd64 from the same place.
    let is_debian =
        std::fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|l| l == "ID=debian"));
    if is_debian {
        return provide("to build and run for aarch64", AARCH64_NEEDS, check_only, true);
    }
    provide("to link and run for aarch64", &AARCH64_NEEDS[..2], check_only, false)?;
    if !report(&AARCH64_NEEDS[2..]).is_empty() && !check_only {
        run(command("rustup").args(["target", "add", AARCH64]))?;
    }
    match aarch64_rustc() {
        Some(_) => Ok(()),
        None => Err(Error::Environment(format!(
            "Rust's library for aarch64 is missing: `rustup target add {AARCH64}`"
        ))),
    }
}

// --- Python ----------------------------------------------------------------------------------------------

/// The interpreter of the virtual environment under the target folder.
pub fn python_path() -> PathBuf {
    command::target_dir().join("python/bin/python")
}

const REQUIREMENTS: &str = "tools/xtask/requirements.txt";

fn find_python() -> Option<String> {
    if python_path().is_file() {
        return Some(python_path().display().to_string());
    }
    // Debian splits ensurepip off into python3-venv; without it a virtual environment has no pip.
    let has_all = succeeds(command("python3").args(["-c", "import venv, ensurepip"]));
    if has_all { find_program("python3") } else { None }
}

fn python(check_only: bool) -> Result<()> {
    let hint = "`cargo xtask setup --python`";
    environment(&command::target_dir().join("python"), REQUIREMENTS, check_only, hint)
}

/// Makes a virtual environment unless it is there with the packages that the list names. `hint`: how to ask
/// for it where only checking is allowed.
pub fn environment(venv: &Path, requirements: &str, check_only: bool, hint: &str) -> Result<()> {
    let list = command::read_text(&command::root().join(requirements))?;
    // Written last, so that a half-made environment is made again.
    let stamp = venv.join("requirements.installed");
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == list) {
        println!("found    {:<52} {}", "Python packages", python.display());
        return Ok(());
    }
    if check_only {
        return Err(Error::Environment(format!(
            "the Python packages of {requirements} are not installed: {hint}"
        )));
    }
    run(command("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let install = || {
        let mut pip = pip_of(&python);
        pip.args(["install", "--quiet", "--only-binary=:all:", "-r", requirements]);
        pip
    };
    run_with_retries(install, &[5, 20]).map_err(|error| {
        Error::Environment(format!(
            "{error}; the Python packages of {requirements} could not be fetched (is the network there?)"
        ))
    })?;
    command::write(&stamp, list.as_bytes())
}

/// `pip` of the virtual environment of tests.
pub fn pip() -> Command {
    pip_of(&python_path())
}

pub fn pip_of(python: &Path) -> Command {
    let mut pip = command(python);
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "5"]);
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_each_package_and_the_variable() {
        let missing: Vec<&Need> = BUILD_NEEDS.iter().collect();
        let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
        let text = advice("to build", &missing, &packages);
        for word in [
            "libmlir-22-dev",
            "libclang-common-22-dev",
            "libzstd-dev",
            "zlib1g-dev",
            "clang-22",
            "MLIR_SYS_220_PREFIX",
        ] {
            assert!(text.contains(word), "{word} is missing in:\n{text}");
        }
    }

    #[test]
    fn advice_on_aarch64_names_the_architecture_and_no_llvm() {
        let missing: Vec<&Need> = AARCH64_NEEDS.iter().collect();
        let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
        let text = advice("to run", &missing, &packages);
        assert!(text.contains("dpkg --add-architecture arm64 && apt-get"), "{text}");
        assert!(!text.contains("LLVM"), "{text}");
    }

    #[test]
    fn a_folder_without_mlir_is_no_prefix() {
        assert!(!holds_mlir(Path::new("/")));
        assert!(!holds_mlir(&command::root()));
    }

    #[test]
    fn programs_are_found_on_the_search_path_only() {
        assert!(find_program("sh").is_some());
        assert!(find_program("a-program-that-does-not-exist").is_none());
    }
}
