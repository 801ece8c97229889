//! Lets executables that are linked with shared LLVM libraries find them where they are built.
#![forbid(unsafe_code)]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by the compiler's build script, when it is part of this build and linked with shared libraries.
    // Tests are executables too.
    if let Ok(libdir) = std::env::var("DEP_REPOPS_DIALECT_LIBDIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{libdir}");
    }
}
