//! A model in whatever form it comes: an ONNX file, a GGUF file, a Hugging Face folder. Which it is, its content says.

use std::path::Path;

use bytes::Bytes;

use crate::decoder::{self, ModelError};
use crate::folder;
use crate::graph::Graph;
use crate::sequence;
use crate::{CompileError, gguf, onnx};

/// The graph of the model at `path`. `context` is the number of positions of a decoder; without it as many as the model
/// allows, up to [`decoder::CONTEXT_DEFAULT_MAX`]. A decoder exported to ONNX becomes a sequence program, unless it is to be
/// left `as_is`: one with a cache must, one without does if it can.
pub fn load(path: &Path, context: Option<usize>, as_is: bool) -> Result<Graph, CompileError> {
    if path.is_dir() {
        let (decoder, sources) = decoder::from_folder(path, context)?;
        return Ok(Graph { sources, ..decoder::build(decoder)? });
    }
    let io = |source| ModelError::Io { path: path.to_path_buf(), source };
    let file = crate::mapped::map_file(path).map_err(io)?;
    if !file.starts_with(&gguf::MAGIC) {
        let graph = onnx::load(path)?;
        return if as_is { Ok(graph) } else { exported(path, graph, context) };
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(import_gguf(&name, file, context)?)
}

/// A decoder's export as a sequence program, with the texts beside it; any other model as it is.
fn exported(path: &Path, graph: Graph, context: Option<usize>) -> Result<Graph, CompileError> {
    let Some(has_cache) = sequence::looks_like_a_decoder(&graph) else { return Ok(graph) };
    let mut program = match sequence::of_export(&graph) {
        Ok(program) => program,
        Err(error) if has_cache => return Err(error.into()),
        Err(_) => return Ok(graph),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (texts, sources) = decoder::texts_beside(folder, context)?;
    program.sources.extend(sources);
    decoder::attach(&mut program, &texts);
    Ok(program)
}

/// The graph of a GGUF file's bytes.
pub fn import_gguf(name: &str, file: Bytes, context: Option<usize>) -> Result<Graph, ModelError> {
    let gguf = gguf::Gguf::parse(file.clone())?;
    // The digest takes as long as the graph.
    let (graph, source) =
        rayon::join(|| decoder::build(decoder::from_gguf(gguf, context)?), || folder::source_of(name, &file));
    Ok(Graph { sources: vec![source], ..graph? })
}
