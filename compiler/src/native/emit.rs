//! From a recording to MLIR: for CPUs one function that runs it over consecutive elements, a vector at a time; for devices
//! ([`device`]) one that does so by as many threads as there are, and one for elements that lie anyhow.
//!
//! The operations are those of arith and math whose results IEEE 754 fixes, with `math.fma` for fused products; tables
//! are constant globals, read by gathers whose indices are masked to the table's length.

mod device;

use std::fmt::Write;

use super::sym::{Binary, Compare, Kind, Node, NodeId, Recording, Shift, Unary};

pub use device::device_text;

/// The name of the emitted function, of type
/// `fn(count: i64, inputs: *const *const u8, strides: *const i64, outputs: *const *mut u8)`.
///
/// `count` is a multiple of the width. Element `i` of input `k` is at index `i * strides[k]`; a stride is 1, or 0 for
/// an input of which every vector reads the same first elements. A truth value is a byte, 0 or 1.
pub const ENTRY: &str = "region";

/// The module that evaluates `results` from the recording's inputs, `width` elements at a time.
pub fn module_text(recording: &Recording, inputs: &[Kind], results: &[NodeId], width: usize) -> String {
    let mut text = Emitter { text: String::new(), recording, width };
    for (index, table) in recording.tables.iter().enumerate() {
        text.table(index, table);
    }
    text.line(format_args!(
        "func.func @{ENTRY}(%n: i64, %inputs: !llvm.ptr, %strides: !llvm.ptr, %outputs: !llvm.ptr) {{"
    ));
    text.line(format_args!("%zero = arith.constant 0 : i64"));
    text.line(format_args!("%step = arith.constant {width} : i64"));
    for k in 0..inputs.len() {
        text.element_of("%inputs", "a", "!llvm.ptr", k);
        text.element_of("%strides", "s", "i64", k);
    }
    for k in 0..results.len() {
        text.element_of("%outputs", "r", "!llvm.ptr", k);
    }
    text.line(format_args!("scf.for %i = %zero to %n step %step : i64 {{"));
    for (id, k, kind) in loads(recording) {
        text.load(id, k, kind);
    }
    text.nodes();
    for (k, &result) in results.iter().enumerate() {
        text.store(k, result);
    }
    text.line(format_args!("}}"));
    text.line(format_args!("return"));
    text.line(format_args!("}}"));
    text.text
}

/// The inputs that nodes are: node, number of the input, kind.
fn loads(recording: &Recording) -> impl Iterator<Item = (NodeId, u32, Kind)> {
    (0..).zip(&recording.nodes).filter_map(|(id, &(node, kind))| match node {
        Node::Input(k, _) => Some((id, k, kind)),
        _ => None,
    })
}

struct Emitter<'r> {
    text: String,
    recording: &'r Recording,
    width: usize,
}

impl Emitter<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String succeeds");
    }

    fn table(&mut self, index: usize, table: &[u64]) {
        let length = table.len();
        let entries: Vec<String> = table.iter().map(|bits| format!("{bits:#018X}")).collect();
        let entries = entries.join(", ");
        self.line(format_args!(
            "llvm.mlir.global internal constant @table{index}(dense<[{entries}]> : tensor<{length}xf64>) \
             {{addr_space = 0 : i32, alignment = 64 : i64}} : !llvm.array<{length} x f64>"
        ));
    }

    /// `%{name}{k}` = element `k` of the array of `ty` at `base`.
    fn element_of(&mut self, base: &str, name: &str, ty: &str, k: usize) {
        self.line(format_args!(
            "%{name}{k}_at = llvm.getelementptr {base}[{k}] : (!llvm.ptr) -> !llvm.ptr, {ty}"
        ));
        self.line(format_args!("%{name}{k} = llvm.load %{name}{k}_at : !llvm.ptr -> {ty}"));
    }

    /// The type of a vector of `kind`.
    fn ty(&self, kind: Kind) -> String {
        format!("vector<{}x{}>", self.width, element(kind))
    }

    /// All nodes but inputs, which have been loaded.
    fn nodes(&mut self) {
        for node in 0..self.recording.nodes.len() {
            self.node(node as NodeId);
        }
    }

    fn node(&mut self, id: NodeId) {
        let (node, kind) = self.recording.nodes[id as usize];
        let ty = self.ty(kind);
        match node {
            Node::Input(..) => {}
            Node::Constant(bits, _) => {
                self.line(format_args!("%v{id} = arith.constant {}", constant(bits, kind, &ty)))
            }
            Node::Unary(op, a) => self.unary(id, op, a, &ty),
            Node::Binary(op, a, b) => {
                let name = binary(op, kind);
                self.line(format_args!("%v{id} = {name} %v{a}, %v{b} : {ty}"));
            }
            Node::Fma(a, b, c) => self.line(format_args!("%v{id} = math.fma %v{a}, %v{b}, %v{c} : {ty}")),
            Node::Compare(op, a, b) => {
                let operands = self.recording.kind(a);
                let name = compare(op, operands);
                let ty = self.ty(operands);
                self.line(format_args!("%v{id} = {name}, %v{a}, %v{b} : {ty}"));
            }
            Node::Select(mask, a, b) => {
                let mask_ty = self.ty(Kind::Mask);
                self.line(format_args!("%v{id} = arith.select %v{mask}, %v{a}, %v{b} : {mask_ty}, {ty}"));
            }
            Node::Shift(op, a, count) => {
                self.line(format_args!("%v{id}_by = arith.constant dense<{count}> : {ty}"));
                let name = match op {
                    Shift::Left => "arith.shli",
                    Shift::Right => "arith.shrui",
                };
                self.line(format_args!("%v{id} = {name} %v{a}, %v{id}_by : {ty}"));
            }
            Node::Lookup(table, index) => self.lookup(id, table, index, &ty),
        }
    }

    fn load(&mut self, id: NodeId, k: u32, kind: Kind) {
        let (stored, align) = stored(kind);
        let width = self.width;
        self.line(format_args!("%v{id}_i = arith.muli %i, %s{k} : i64"));
        self.line(format_args!(
            "%v{id}_at = llvm.getelementptr %a{k}[%v{id}_i] : (!llvm.ptr, i64) -> !llvm.ptr, {stored}"
        ));
        let to = if kind == Kind::Mask { "_byte" } else { "" };
        self.line(format_args!(
            "%v{id}{to} = llvm.load %v{id}_at {{alignment = {align} : i64}} : !llvm.ptr -> vector<{width}x{stored}>"
        ));
        if kind == Kind::Mask {
            self.truths_of_bytes(id);
        }
    }

    /// Truth values from the bytes that they are stored as, `%v{id}_byte`.
    fn truths_of_bytes(&mut self, id: NodeId) {
        let width = self.width;
        self.line(format_args!("%v{id}_false = arith.constant dense<0> : vector<{width}xi8>"));
        self.line(format_args!("%v{id} = arith.cmpi ne, %v{id}_byte, %v{id}_false : vector<{width}xi8>"));
    }

    /// The name of result `k` as it is stored: truth values as bytes.
    fn as_stored(&mut self, k: usize, result: NodeId) -> String {
        let kind = self.recording.kind(result);
        if kind != Kind::Mask {
            return format!("%v{result}");
        }
        let (mask, width) = (self.ty(kind), self.width);
        self.line(format_args!("%r{k}_byte = arith.extui %v{result} : {mask} to vector<{width}xi8>"));
        format!("%r{k}_byte")
    }

    fn store(&mut self, k: usize, result: NodeId) {
        let kind = self.recording.kind(result);
        let (stored, align) = stored(kind);
        let width = self.width;
        let value = self.as_stored(k, result);
        self.line(format_args!(
            "%r{k}_at_i = llvm.getelementptr %r{k}[%i] : (!llvm.ptr, i64) -> !llvm.ptr, {stored}"
        ));
        self.line(format_args!(
            "llvm.store {value}, %r{k}_at_i {{alignment = {align} : i64}} : vector<{width}x{stored}>, !llvm.ptr"
        ));
    }

    fn unary(&mut self, id: NodeId, op: Unary, a: NodeId, ty: &str) {
        let from = self.ty(self.recording.kind(a));
        match op {
            Unary::Sqrt => self.line(format_args!("%v{id} = math.sqrt %v{a} : {ty}")),
            Unary::Neg => self.line(format_args!("%v{id} = arith.negf %v{a} : {ty}")),
            Unary::Abs => self.line(format_args!("%v{id} = math.absf %v{a} : {ty}")),
            Unary::Widen => self.line(format_args!("%v{id} = arith.extf %v{a} : {from} to {ty}")),
            Unary::Narrow => self.line(format_args!("%v{id} = arith.truncf %v{a} : {from} to {ty}")),
            Unary::Bitcast => self.line(format_args!("%v{id} = arith.bitcast %v{a} : {from} to {ty}")),
            Unary::Not => {
                self.line(format_args!("%v{id}_true = arith.constant dense<true> : {ty}"));
                self.line(format_args!("%v{id} = arith.xori %v{a}, %v{id}_true : {ty}"));
            }
        }
    }

    fn lookup(&mut self, id: NodeId, table: u32, index: NodeId, ty: &str) {
        let last = self.recording.tables[table as usize].len() - 1;
        let width = self.width;
        let (indices, mask) = (self.ty(Kind::U64), self.ty(Kind::Mask));
        self.line(format_args!("%v{id}_base = llvm.mlir.addressof @table{table} : !llvm.ptr"));
        self.line(format_args!("%v{id}_last = arith.constant dense<{last}> : {indices}"));
        self.line(format_args!("%v{id}_index = arith.andi %v{index}, %v{id}_last : {indices}"));
        self.line(format_args!(
            "%v{id}_at = llvm.getelementptr %v{id}_base[%v{id}_index] : (!llvm.ptr, {indices}) -> \
             vector<{width}x!llvm.ptr>, f64"
        ));
        self.line(format_args!("%v{id}_all = arith.constant dense<true> : {mask}"));
        self.line(format_args!("%v{id}_else = arith.constant dense<0.0> : {ty}"));
        self.line(format_args!(
            "%v{id} = llvm.intr.masked.gather %v{id}_at, %v{id}_all, %v{id}_else {{alignment = 8 : i32}} : \
             (vector<{width}x!llvm.ptr>, {mask}, {ty}) -> {ty}"
        ));
    }
}

fn element(kind: Kind) -> &'static str {
    match kind {
        Kind::F32 => "f32",
        Kind::F64 => "f64",
        Kind::U32 => "i32",
        Kind::U64 => "i64",
        Kind::Mask => "i1",
    }
}

/// The type of a kind in memory, and its alignment.
fn stored(kind: Kind) -> (&'static str, usize) {
    match kind {
        Kind::F32 | Kind::U32 => (element(kind), 4),
        Kind::F64 | Kind::U64 => (element(kind), 8),
        Kind::Mask => ("i8", 1),
    }
}

fn constant(bits: u64, kind: Kind, ty: &str) -> String {
    match kind {
        Kind::F32 => format!("dense<{bits:#010X}> : {ty}"),
        Kind::F64 => format!("dense<{bits:#018X}> : {ty}"),
        Kind::U32 => format!("dense<{}> : {ty}", bits as u32 as i32),
        Kind::U64 => format!("dense<{}> : {ty}", bits as i64),
        Kind::Mask => format!("dense<{}> : {ty}", bits != 0),
    }
}

fn binary(op: Binary, kind: Kind) -> &'static str {
    let float = matches!(kind, Kind::F32 | Kind::F64);
    match (op, float) {
        (Binary::Add, true) => "arith.addf",
        (Binary::Add, false) => "arith.addi",
        (Binary::Sub, true) => "arith.subf",
        (Binary::Sub, false) => "arith.subi",
        (Binary::Mul, true) => "arith.mulf",
        (Binary::Mul, false) => "arith.muli",
        (Binary::Div, true) => "arith.divf",
        (Binary::Div, false) => "arith.divui",
        (Binary::CopySign, _) => "math.copysign",
        (Binary::And, _) => "arith.andi",
        (Binary::Or, _) => "arith.ori",
        (Binary::Xor, _) => "arith.xori",
    }
}

fn compare(op: Compare, kind: Kind) -> &'static str {
    let float = matches!(kind, Kind::F32 | Kind::F64);
    match (op, float) {
        (Compare::Equal, true) => "arith.cmpf oeq",
        (Compare::Less, true) => "arith.cmpf olt",
        (Compare::LessEqual, true) => "arith.cmpf ole",
        (Compare::Equal, false) => "arith.cmpi eq",
        (Compare::Less, false) => "arith.cmpi ult",
        (Compare::LessEqual, false) => "arith.cmpi ule",
    }
}
