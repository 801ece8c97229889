//! `repops region-code`: fused steps of programs as PTX in a file, for machines with a GPU and without the compiler.
//!
//! Invariant: a region is found by its digest, so a file that lacks one, or was made for other programs, changes nothing but the time
//! that a run takes. What a file holds is code: nothing here can tell whether it computes what it should.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use repops::region::{Region, RegionBackend, RegionKernel, RegionPtx};
use repops_runtime::Regions;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::arguments::RegionCode;
use crate::report::{print, print_json};
use crate::{Answer, Failure, Result, engine};

const FORMAT: &str = "repops region code 1";
/// The largest file that is read.
const BYTES_MAX: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    /// By digest, in hexadecimal.
    regions: BTreeMap<String, Code>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    lanes: u32,
    ptx: String,
}

/// Makes the code of all regions of some programs.
pub fn make(arguments: &RegionCode, regions: &Regions) -> Result<Answer> {
    let Regions::Backend(backend) = regions else { return Err(Failure::new("there is no compiler")) };
    let mut file = File { format: FORMAT.to_owned(), regions: BTreeMap::new() };
    let mut left = 0usize;
    for path in &arguments.programs {
        let program = engine::load(path)?;
        let steps = program.blocks().iter().flat_map(|block| &block.steps);
        for region in steps.filter_map(|step| step.region.as_ref()) {
            let digest = region.digest().to_string();
            if file.regions.contains_key(&digest) {
                continue;
            }
            match backend.ptx(region) {
                Some(made) => {
                    file.regions.insert(digest, Code { lanes: made.lanes, ptx: made.text.clone() });
                }
                None => left += 1,
            }
        }
    }
    let text = serde_json::to_vec(&file).map_err(|error| Failure::new(error.to_string()))?;
    repops_io::atomic::write(&arguments.output, |out| out.write_all(&text))?;
    let made = file.regions.len();
    if arguments.json {
        print_json(&json!({ "regions": made, "left": left, "bytes": text.len() }));
    } else {
        let path = arguments.output.display();
        print(&format!(
            "{made} regions in {path}, {} bytes; {left} that the shipped kernel computes",
            text.len()
        ));
    }
    Ok(Answer::Yes)
}

/// The code that a file holds.
pub fn read(path: &Path) -> Result<Regions> {
    let wrong = |what: String| Failure::new(format!("{}: {what}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > BYTES_MAX {
        return Err(wrong(format!("{length} bytes; at most {BYTES_MAX} are read")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("not region code as `repops region-code` writes it: {error}")))?;
    if file.format != FORMAT {
        return Err(wrong(format!("the format is {:?}; this version reads {FORMAT:?}", file.format)));
    }
    let code =
        |(digest, code): (String, Code)| (digest, Arc::new(RegionPtx { text: code.ptx, lanes: code.lanes }));
    Ok(Regions::Backend(Arc::new(Codes(file.regions.into_iter().map(code).collect()))))
}

/// Code at hand, by region.
struct Codes(BTreeMap<String, Arc<RegionPtx>>);

impl RegionBackend for Codes {
    fn prepare(&self, _: &Region) -> Option<Arc<dyn RegionKernel>> {
        None
    }

    fn ptx(&self, region: &Region) -> Option<Arc<RegionPtx>> {
        self.0.get(&region.digest().to_string()).cloned()
    }

    fn name(&self) -> &'static str {
        "code"
    }
}
