//! What machine code is made of: instructions of nvdisasm's text and of PTX, counted by what they compute.
//!
//! Invariant: what is not understood counts as a finding, never as nothing.

use std::collections::BTreeMap;

/// Float operations of a kernel, single and double precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    pub adds: u32,
    pub muls: u32,
    pub fmas: u32,
    pub double_adds: u32,
    pub double_muls: u32,
    pub double_fmas: u32,
    /// Divisions, roots and reciprocals: expanded by the assembler into several operations each.
    pub divisions: u32,
    pub roots: u32,
    pub double_divisions: u32,
    pub double_roots: u32,
}

/// The float operations of each entry of a PTX text; an opcode that rounds as nobody said is an error.
pub fn of_ptx(text: &str) -> Result<BTreeMap<String, Operations>, String> {
    let mut kernels = BTreeMap::new();
    let mut current: Option<(String, Operations)> = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.split(".entry ").nth(1) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            kernels.extend(current.replace((name, Operations::default())));
            continue;
        }
        let Some((name, found)) = &mut current else { continue };
        let opcode = opcode_of_ptx(line);
        let count = match opcode {
            "add.rn.f32" | "sub.rn.f32" => &mut found.adds,
            "mul.rn.f32" => &mut found.muls,
            "fma.rn.f32" => &mut found.fmas,
            "add.rn.f64" | "sub.rn.f64" => &mut found.double_adds,
            "mul.rn.f64" => &mut found.double_muls,
            "fma.rn.f64" => &mut found.double_fmas,
            "div.rn.f32" | "rcp.rn.f32" => &mut found.divisions,
            "sqrt.rn.f32" => &mut found.roots,
            "div.rn.f64" | "rcp.rn.f64" => &mut found.double_divisions,
            "sqrt.rn.f64" => &mut found.double_roots,
            _ => {
                let float = opcode.ends_with(".f32") || opcode.ends_with(".f64") || opcode.ends_with(".f16");
                let stem = opcode.split('.').next().unwrap_or("");
                if float
                    && ["add", "sub", "mul", "fma", "mad", "div", "sqrt", "rcp", "ex2", "lg2"].contains(&stem)
                {
                    return Err(format!("{name}: {opcode}"));
                }
                continue;
            }
        };
        *count += 1;
    }
    kernels.extend(current);
    Ok(kernels)
}

/// The opcode of a line of PTX, after a guard.
fn opcode_of_ptx(line: &str) -> &str {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or("");
    let opcode = if first.starts_with('@') { words.next().unwrap_or("") } else { first };
    opcode.trim_end_matches(';')
}

/// A kernel's machine code.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Outside of the assembler's own functions for rare cases of division and roots.
    pub found: Operations,
    pub instructions: u32,
    /// Opcodes that may not be there, with the instruction.
    pub forbidden: Vec<String>,
    /// Additions of -0, which change no number: signs changed, values moved, or a zero subtracted.
    pub moves: u32,
    pub double_moves: u32,
    /// Multiplications that flush subnormals: two for each root are the assembler's.
    pub flushing_muls: u32,
}

/// The kernels in the text of `nvdisasm -c`.
pub fn of_sass(text: &str) -> BTreeMap<String, Code> {
    let mut kernels: BTreeMap<String, Code> = BTreeMap::new();
    let mut current = String::new();
    let mut is_internal = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix(".section") {
            if let Some(name) = rest.trim_start().strip_prefix(".text.") {
                current = name.split([',', ' ', '\t']).next().unwrap_or("").to_owned();
                is_internal = false;
                kernels.entry(current.clone()).or_default();
            }
            continue;
        }
        if line.ends_with(':') && line.contains("$__internal") {
            is_internal = true;
        }
        let Some(instruction) = instruction_of(line) else { continue };
        let Some(code) = kernels.get_mut(&current) else { continue };
        code.instructions += 1;
        code.count(instruction, is_internal);
    }
    kernels
}

/// The instruction of a line: what follows its address, without a guard.
pub fn instruction_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("/*")?.split_once("*/")?.1.trim();
    let rest = rest.strip_prefix('{').unwrap_or(rest).trim();
    let rest = if rest.starts_with('@') { rest.split_once(' ')?.1.trim() } else { rest };
    rest.starts_with(|c: char| c.is_ascii_uppercase()).then(|| rest.trim_end_matches(';').trim())
}

impl Code {
    fn count(&mut self, instruction: &str, is_internal: bool) {
        let opcode = instruction.split_whitespace().next().unwrap_or("");
        let mut parts = opcode.split('.');
        let (stem, suffixes): (&str, Vec<&str>) = (parts.next().unwrap_or(""), parts.collect());
        let flushes = suffixes.contains(&"FTZ");
        let is_move = instruction.contains("-RZ");
        if is_internal {
            return;
        }
        let found = &mut self.found;
        match stem {
            "FMUL" if flushes => self.flushing_muls += 1,
            "FADD" | "FMUL" | "FFMA" | "FSETP" | "FMNMX" | "FSET" | "FSEL" if flushes => {
                self.forbidden.push(instruction.to_owned());
            }
            "FADD" if is_move => self.moves += 1,
            "DADD" if is_move => self.double_moves += 1,
            "FADD" => found.adds += 1,
            "FADD2" => found.adds += 2,
            "FMUL" => found.muls += 1,
            "FMUL2" => found.muls += 2,
            "FFMA" => found.fmas += 1,
            "FFMA2" => found.fmas += 2,
            "DADD" => found.double_adds += 1,
            "DMUL" => found.double_muls += 1,
            "DFMA" => found.double_fmas += 1,
            // Seeds of divisions and roots, whose results do not depend on them; no function by table.
            "MUFU" if ["RCP", "RSQ", "RCP64H", "RSQ64H"].iter().any(|seed| suffixes.contains(seed)) => {}
            // A constant as the sum of halves, and a half made wider.
            "HFMA2" if instruction.contains("-RZ, RZ") => {}
            "HADD2" if suffixes.contains(&"F32") && is_move => {}
            "MUFU" | "HFMA2" | "HADD2" | "HMUL2" | "HMMA" | "DMMA" | "QMMA" | "OMMA" | "HGMMA"
            | "FSWZADD" | "RED" | "ATOM" | "ATOMG" | "ATOMS"
                if !is_integer_atomic(stem, &suffixes) =>
            {
                self.forbidden.push(instruction.to_owned());
            }
            _ => {}
        }
    }
}

fn is_integer_atomic(stem: &str, suffixes: &[&str]) -> bool {
    let is_atomic = matches!(stem, "RED" | "ATOM" | "ATOMG" | "ATOMS");
    is_atomic && !suffixes.iter().any(|suffix| suffix.starts_with('F') && suffix.len() > 2)
}

/// Whether machine code has the operations of its PTX: each addition and product once, none fused with another.
pub fn compare(ptx: &Operations, code: &Code) -> Verdict {
    let found = &code.found;
    if let Some(instruction) = code.forbidden.first() {
        return Verdict::Wrong(format!("`{instruction}`"));
    }
    if code.flushing_muls
        > 2 * (ptx.roots + ptx.divisions) * copies(ptx.adds + ptx.muls, found.adds + found.muls)
    {
        return Verdict::Wrong(format!("{} flushing products", code.flushing_muls));
    }
    let (single, double) = (ptx.divisions + ptx.roots, ptx.double_divisions + ptx.double_roots);
    // What, wanted, found for certain, found perhaps besides, and what divisions and roots may add.
    let kinds = [
        ("additions", ptx.adds, found.adds, code.moves, 0),
        ("products", ptx.muls, found.muls, 0, 0),
        ("double additions", ptx.double_adds, found.double_adds, code.double_moves, double),
        ("double products", ptx.double_muls, found.double_muls, 0, 3 * double),
        ("fused", ptx.fmas, found.fmas, 0, 6 * single + 2 * double),
        ("double fused", ptx.double_fmas, found.double_fmas, 0, 9 * double),
    ];
    let fits = |(_, wanted, found, besides, spare): &(&str, u32, u32, u32, u32)| {
        found + besides >= *wanted && *found <= wanted + spare
    };
    if kinds.iter().all(fits) {
        return Verdict::Equal;
    }
    // Loops that the assembler unrolled or split: nothing is missing, and what was not there is not there now.
    let nothing_lost = kinds.iter().all(|(_, wanted, found, besides, _)| found + besides >= *wanted);
    let nothing_new = kinds.iter().all(|(_, wanted, found, _, spare)| *wanted + *spare > 0 || *found == 0);
    if nothing_lost && nothing_new {
        return Verdict::Unrolled;
    }
    let told: Vec<String> = kinds
        .iter()
        .filter(|kind| !fits(kind))
        .map(|(what, wanted, found, ..)| format!("{found} {what}, not {wanted}"))
        .collect();
    Verdict::Wrong(told.join("; "))
}

fn copies(wanted: u32, found: u32) -> u32 {
    found.checked_div(wanted).unwrap_or(1).max(1)
}

/// What an audit says of a kernel on an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As many operations of each kind as the PTX has.
    Equal,
    /// Loops have more copies of them; no kind appears that the PTX has not.
    Unrolled,
    Wrong(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str =
        ".visible .entry f(\n)\n{\n add.rn.f32 %r1, %r2, %r3;\n @%p1 mul.rn.f32 %r1, %r2, %r3;\n}\n";

    fn code(lines: &[&str]) -> Code {
        let lines: Vec<String> =
            lines.iter().enumerate().map(|(at, line)| format!("        /*{at:04x}*/    {line} ;")).collect();
        let text = format!("\t.section\t.text.f,\"ax\",@progbits\n.text.f:\n{}\n", lines.join("\n"));
        of_sass(&text).remove("f").unwrap()
    }

    fn verdict(lines: &[&str]) -> Verdict {
        compare(&of_ptx(PTX).unwrap()["f"], &code(lines))
    }

    #[test]
    fn the_same_operations_are_found_equal() {
        let lines =
            ["FADD R1, R2, R3", "@P0 FMUL R1, R2, R3", "FADD R4, -R4, -RZ", "HFMA2 R5, -RZ, RZ, 1, 0"];
        assert_eq!(verdict(&lines), Verdict::Equal);
        assert_eq!(code(&lines).instructions, 4);
    }

    #[test]
    fn a_fused_pair_is_found() {
        assert!(matches!(verdict(&["FFMA R1, R2, R3, R4"]), Verdict::Wrong(_)));
        assert!(matches!(
            verdict(&["FADD R1, R2, R3", "FMUL R1, R2, R3", "FFMA R1, R2, R3, R4"]),
            Verdict::Wrong(_)
        ));
    }

    #[test]
    fn flushing_and_functions_by_table_are_found() {
        for line in [
            "FADD.FTZ R1, R2, R3",
            "MUFU.EX2 R1, R2",
            "HMMA.16816.F32 R4, R8, R12, R4",
            "RED.E.ADD.F32.FTZ.RN [R2], R4",
        ] {
            assert!(
                matches!(verdict(&["FADD R1, R2, R3", "FMUL R1, R2, R3", line]), Verdict::Wrong(_)),
                "{line}"
            );
        }
        let lines = [
            "FADD R1, R2, R3",
            "FMUL R1, R2, R3",
            "MUFU.RCP R1, R2",
            "RED.E.OR.STRONG.GPU [R2], R4",
            "IGMMA.64x192x32.S8.S8 R24, gdesc[UR24], R24",
        ];
        assert_eq!(verdict(&lines), Verdict::Equal);
    }

    #[test]
    fn unrolled_loops_have_more_of_the_same() {
        let lines = ["FADD R1, R2, R3", "FMUL R1, R2, R3", "FADD R1, R2, R3", "FMUL R1, R2, R3"];
        assert_eq!(verdict(&lines), Verdict::Unrolled);
    }

    #[test]
    fn ptx_without_a_rounding_is_refused() {
        assert!(of_ptx(".entry f(\n add.f32 %r1, %r2, %r3;").is_err());
        assert!(of_ptx(".entry f(\n fma.rz.f32 %r1, %r2, %r3, %r4;").is_err());
        assert!(of_ptx(".entry f(\n add.s32 %r1, %r2, %r3;\n max.f32 %r1, %r2, %r3;").is_ok());
    }
}
