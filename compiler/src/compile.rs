//! The whole way from a graph to a program.

use std::path::Path;

use repops::program::Program;

use crate::Result;
use crate::build::build;
use crate::emit::emit;
use crate::graph::Graph;
use crate::mlir::Context;
use crate::passes::{self, Choice};

/// What a compilation does beyond what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Join element-wise neighbours into regions.
    pub fuse: bool,
    /// Store matrices as contractions read them.
    pub layout: bool,
    /// The most positions of a decoder; `None`: as many as its source allows, within reason.
    pub context: Option<usize>,
    /// Leave decoders that were exported with a cache as they stand: their inputs and outputs are the export's.
    pub as_is: bool,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self { fuse: true, layout: true, context: None, as_is: false }
    }
}

/// Is shown the module after it was built ("build") and after every pass: the pass's name, and a function that gives
/// the module's text.
pub type Observer<'o> = dyn FnMut(&str, &dyn Fn() -> String) + 'o;

/// Compiles the model at `path`: an ONNX or GGUF file, or a Hugging Face folder.
pub fn compile_file(path: &Path, options: &CompileOptions, observer: &mut Observer<'_>) -> Result<Program> {
    compile(crate::model::load(path, options.context, options.as_is)?, options, observer)
}

/// Compiles a graph.
pub fn compile(graph: Graph, options: &CompileOptions, observer: &mut Observer<'_>) -> Result<Program> {
    // Folding evaluates operators here; their bits become part of the program.
    repops::fma::check()?;
    let context = Context::new();
    let mut session = build(&context, &graph);
    drop(graph);
    passes::verify(&session, "build")?;
    observer("build", &|| session.module.to_text(true));
    let mut left_out = Vec::new();
    if !options.fuse {
        left_out.push(Choice::Fuse);
    }
    if !options.layout {
        left_out.push(Choice::Layout);
    }
    passes::run_all(&mut session, &left_out, &mut |pass, module| {
        observer(pass.name, &|| module.to_text(true))
    })?;
    emit(&session)
}
