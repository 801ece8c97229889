//! Any text and any launch is an error or runs: nothing panics, nothing runs forever.

use std::path::Path;

use repops_ptx::suite::Draw;
use repops_ptx::{Loaded, Machine, Memory, Shape, Value};

/// Lowers every entry, and runs those whose parameters are numbers.
fn attempt(text: &str) {
    let mut machine = Machine::default();
    machine.steps_max = 2_000;
    let Ok(entries) = repops_ptx::entries(text) else { return };
    let Ok(mut loaded) = Loaded::load(text.into(), &mut machine.memory) else { return };
    let buffer = machine.memory.allocate(4096).unwrap();
    for entry in entries {
        if loaded.entry(&entry).is_err() {
            continue;
        }
        for count in [1, 3, 5, 12] {
            let pointer = Value { bits: Memory::address(buffer), bytes: 8, is_pointer: true };
            let number = Value { bits: 3, bytes: 4, is_pointer: false };
            let arguments: Vec<Value> = (0..count).map(|at| if at < 3 { pointer } else { number }).collect();
            let shape = Shape { grid: [2, 1, 1], block: [64, 1, 1], shared: 64 };
            let _ = machine.launch(&mut loaded, &entry, shape, &arguments);
        }
    }
}

#[test]
fn damaged_texts_do_not_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/generated");
    let mut draw = Draw::new(7);
    for name in ["movement", "embedding", "attention_weights"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.ptx"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for _ in 0..40 {
            let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for _ in 0..1 + draw.below(4) {
                let at = draw.below(damaged.len());
                let other = lines[draw.below(lines.len())];
                match draw.below(6) {
                    0 => damaged[at].clear(),
                    1 => damaged[at] = other.to_owned(),
                    2 => damaged.truncate(at.max(1)),
                    3 => {
                        let mut words: Vec<&str> = damaged[at].split(' ').collect();
                        let (a, b) = (draw.below(words.len()), draw.below(words.len()));
                        words.swap(a, b);
                        damaged[at] = words.join(" ");
                    }
                    4 => {
                        let mark = [
                            "{",
                            "}",
                            "[",
                            "]",
                            ";",
                            "-",
                            "%r1",
                            "0f",
                            "0x",
                            "::",
                            "\"",
                            "/*",
                            "18446744073709551615",
                        ];
                        let insert = mark[draw.below(mark.len())];
                        let middle =
                            (0..=damaged[at].len() / 2).rev().find(|&i| damaged[at].is_char_boundary(i));
                        damaged[at].insert_str(middle.unwrap_or(0), insert);
                    }
                    _ => damaged[at] = damaged[at].replace(|c: char| c.is_ascii_digit(), "9"),
                }
            }
            attempt(&damaged.join("\n"));
        }
    }
}

#[test]
fn random_tokens_do_not_panic() {
    const WORDS: [&str; 44] = [
        ".version",
        "7.0",
        ".target",
        "sm_80",
        ".entry",
        ".func",
        "f",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ";",
        ",",
        ":",
        ".reg",
        ".b32",
        ".b64",
        ".pred",
        "%r",
        "<",
        "9",
        ">",
        "%r1",
        "%p1",
        "@",
        "!",
        "ld.global.b32",
        "st.shared.v4.b32",
        "bra",
        "call",
        "mov.b64",
        "=",
        "-",
        "+",
        "|",
        "4294967296",
        ".shared",
        ".align",
        ".param",
        ".const",
        "0f3F800000",
        "setp.lt.f32",
    ];
    let mut draw = Draw::new(8);
    for _ in 0..3000 {
        let mut text = String::from(".version 7.0\n.target sm_80\n.entry f ( )\n{\n.reg .b32 %r<9>;\n");
        for _ in 0..draw.below(60) {
            text.push_str(WORDS[draw.below(WORDS.len())]);
            text.push(' ');
        }
        attempt(&text);
        attempt(&text[draw.below(40)..]);
    }
}
