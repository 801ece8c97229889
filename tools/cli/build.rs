//! Lets an executable that is linked with shared LLVM libraries find them where it is built.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by the compiler's build script, when it is part of this build and linked with shared libraries.
    if let Ok(libdir) = std::env::var("DEP_REPOPS_DIALECT_LIBDIR") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{libdir}");
    }
}
