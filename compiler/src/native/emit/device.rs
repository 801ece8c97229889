//! The two entries of a region's module for devices; [`RegionPtx`] says what they take.
//!
//! Nothing here knows a shape: an entry does for every one. Vectors are of the elements of one thread, a block's width apart, so that
//! neighbouring threads read and write neighbouring elements.

use repops::region::RegionPtx;

use super::{Emitter, Kind, NodeId, Recording, loads, stored};

/// How many elements a thread has under way at once: enough to wait for memory with. Long functions have enough to do with one.
fn lanes(recording: &Recording) -> usize {
    if recording.nodes.len() <= 400 { 4 } else { 1 }
}

/// The module of a recording's two entries, and the lanes of the first.
pub fn device_text(recording: &Recording, inputs: &[Kind], results: &[NodeId]) -> (String, usize) {
    let lanes = lanes(recording);
    let mut text = Emitter { text: String::new(), recording, width: lanes };
    for (index, table) in recording.tables.iter().enumerate() {
        text.table(index, table);
    }
    text.dense(inputs.len(), results);
    text.width = 1;
    text.broadcast(inputs.len(), results);
    (text.text, lanes)
}

impl Emitter<'_> {
    fn dense(&mut self, inputs: usize, results: &[NodeId]) {
        let mut parameters = String::from("%n32: i32");
        for k in 0..inputs {
            parameters += &format!(", %a{k}: !llvm.ptr, %s{k}: i32");
        }
        self.begin(RegionPtx::DENSE, parameters, results.len());
        let width = self.width;
        // The first lane is there; the others look, and read its element if they are past the end.
        self.line(format_args!("%j0 = arith.addi %i, %zero : i64"));
        for lane in 1..width {
            self.line(format_args!("%ahead{lane} = arith.constant {lane} : i64"));
            self.line(format_args!("%by{lane} = arith.muli %ahead{lane}, %threads : i64"));
            self.line(format_args!("%p{lane} = arith.addi %i, %by{lane} : i64"));
            self.line(format_args!("%is{lane} = arith.cmpi ult, %p{lane}, %n : i64"));
            self.line(format_args!("%j{lane} = arith.select %is{lane}, %p{lane}, %i : i64"));
        }
        for k in 0..inputs {
            self.line(format_args!("%s{k}_wide = arith.extui %s{k} : i32 to i64"));
            for lane in 0..width {
                self.line(format_args!("%o{k}_{lane} = arith.muli %j{lane}, %s{k}_wide : i64"));
            }
        }
        self.body(results);
    }

    fn broadcast(&mut self, inputs: usize, results: &[NodeId]) {
        let axes = RegionPtx::AXES;
        let mut parameters = String::from("%n32: i32");
        for axis in 0..axes {
            parameters += &format!(", %e{axis}: i32, %m{axis}: i32, %h{axis}: i32");
        }
        for k in 0..inputs {
            parameters += &format!(", %a{k}: !llvm.ptr");
            for axis in 0..axes {
                parameters += &format!(", %s{k}_{axis}: i32");
            }
        }
        self.begin(RegionPtx::BROADCAST, parameters, results.len());
        // The position on each axis, the innermost first.
        let mut rest = String::from("%i");
        for axis in (0..axes).rev() {
            for name in ["e", "m", "h"] {
                self.line(format_args!("%{name}{axis}_wide = arith.extui %{name}{axis} : i32 to i64"));
            }
            self.line(format_args!("%product{axis} = arith.muli {rest}, %m{axis}_wide : i64"));
            self.line(format_args!("%outer{axis} = arith.shrui %product{axis}, %h{axis}_wide : i64"));
            self.line(format_args!("%begin{axis} = arith.muli %outer{axis}, %e{axis}_wide : i64"));
            self.line(format_args!("%p{axis} = arith.subi {rest}, %begin{axis} : i64"));
            rest = format!("%outer{axis}");
        }
        self.line(format_args!("%j0 = arith.addi %i, %zero : i64"));
        for k in 0..inputs {
            let mut sum = String::from("%zero");
            for axis in 0..axes {
                self.line(format_args!("%s{k}_{axis}_wide = arith.extui %s{k}_{axis} : i32 to i64"));
                self.line(format_args!("%t{k}_{axis} = arith.muli %p{axis}, %s{k}_{axis}_wide : i64"));
                let next = if axis + 1 == axes { format!("%o{k}_0") } else { format!("%u{k}_{axis}") };
                self.line(format_args!("{next} = arith.addi {sum}, %t{k}_{axis} : i64"));
                sum = next;
            }
        }
        self.body(results);
    }

    /// The head of an entry and of its loop: `%i` is the first of a thread's elements, `%threads` the width of a block.
    fn begin(&mut self, entry: &str, mut parameters: String, results: usize) {
        for k in 0..results {
            parameters += &format!(", %r{k}: !llvm.ptr");
        }
        let width = self.width;
        self.line(format_args!("func.func @{entry}({parameters}) {{"));
        for (name, register) in
            [("thread", "tid"), ("threads", "ntid"), ("block", "ctaid"), ("blocks", "nctaid")]
        {
            self.line(format_args!(
                "%{name}32 = llvm.call_intrinsic \"llvm.nvvm.read.ptx.sreg.{register}.x\"() : () -> i32"
            ));
            self.line(format_args!("%{name} = arith.extui %{name}32 : i32 to i64"));
        }
        self.line(format_args!("%n = arith.extui %n32 : i32 to i64"));
        self.line(format_args!("%zero = arith.constant 0 : i64"));
        self.line(format_args!("%width = arith.constant {width} : i64"));
        self.line(format_args!("%each = arith.muli %threads, %width : i64"));
        self.line(format_args!("%begin = arith.muli %block, %each : i64"));
        self.line(format_args!("%first = arith.addi %begin, %thread : i64"));
        self.line(format_args!("%step = arith.muli %blocks, %each : i64"));
        self.line(format_args!("scf.for %i = %first to %n step %step : i64 {{"));
    }

    /// From elements at `%o{input}_{lane}` to results at `%j{lane}`, which are there if `%is{lane}`.
    fn body(&mut self, results: &[NodeId]) {
        for (id, k, kind) in loads(self.recording) {
            self.load_lanes(id, k, kind);
        }
        self.nodes();
        for (k, &result) in results.iter().enumerate() {
            self.store_lanes(k, result);
        }
        self.line(format_args!("}}"));
        self.line(format_args!("return"));
        self.line(format_args!("}}"));
    }

    fn load_lanes(&mut self, id: NodeId, k: u32, kind: Kind) {
        let (element, align) = stored(kind);
        let width = self.width;
        let mut lanes = Vec::new();
        for lane in 0..width {
            self.line(format_args!(
                "%v{id}_at{lane} = llvm.getelementptr %a{k}[%o{k}_{lane}] : (!llvm.ptr, i64) -> !llvm.ptr, {element}"
            ));
            self.line(format_args!(
                "%v{id}_{lane} = llvm.load %v{id}_at{lane} {{alignment = {align} : i64}} : !llvm.ptr -> {element}"
            ));
            lanes.push(format!("%v{id}_{lane}"));
        }
        let lanes = lanes.join(", ");
        let to = if kind == Kind::Mask { "_byte" } else { "" };
        self.line(format_args!("%v{id}{to} = vector.from_elements {lanes} : vector<{width}x{element}>"));
        if kind == Kind::Mask {
            self.truths_of_bytes(id);
        }
    }

    fn store_lanes(&mut self, k: usize, result: NodeId) {
        let kind = self.recording.kind(result);
        let (element, align) = stored(kind);
        let width = self.width;
        let value = self.as_stored(k, result);
        for lane in 0..width {
            if lane > 0 {
                self.line(format_args!("scf.if %is{lane} {{"));
            }
            self.line(format_args!(
                "%r{k}_{lane} = vector.extract {value}[{lane}] : {element} from vector<{width}x{element}>"
            ));
            self.line(format_args!(
                "%r{k}_at{lane} = llvm.getelementptr %r{k}[%j{lane}] : (!llvm.ptr, i64) -> !llvm.ptr, {element}"
            ));
            self.line(format_args!(
                "llvm.store %r{k}_{lane}, %r{k}_at{lane} {{alignment = {align} : i64}} : {element}, !llvm.ptr"
            ));
            if lane > 0 {
                self.line(format_args!("}}"));
            }
        }
    }
}
