//! What the interpreter must refuse, text by text: each fault is reported, with its line, and the sound twin runs.

use repops_ptx::{Error, Fault, Loaded, Machine, Memory, Shape, Space, Value};

const HEAD: &str = ".version 7.0\n.target sm_80\n.address_size 64\n";

/// An entry with a pointer and a number; registers of every kind.
fn entry(body: &str) -> String {
    format!(
        "{HEAD}.extern .shared .align 16 .b8 dynamic[];\n.visible .entry test(.param .u64 .ptr .align 4 p, .param .u32 n)\n{{\n\
         .reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %r<40>;\n.reg .b64 %d<20>;\n.shared .align 4 .b8 fixed[256];\n\
         ld.param.b64 %d0, [p];\nld.param.b32 %r0, [n];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %d1, %r1, 4;\nadd.s64 %d2, %d0, %d1;\n\
         mov.b64 %d3, fixed;\nadd.s64 %d4, %d3, %d1;\n{body}\nret;\n}}\n"
    )
}

/// Runs `body` on a buffer of 64 words, word i being i, in `blocks` blocks of 64 threads.
fn run(body: &str, blocks: u32) -> Result<Vec<u32>, Error> {
    run_text(&entry(body), blocks)
}

fn run_text(text: &str, blocks: u32) -> Result<Vec<u32>, Error> {
    let mut machine = Machine::default();
    machine.steps_max = 100_000;
    let buffer = machine.memory.allocate(256).unwrap();
    let words: Vec<u8> = (0u32..64).flat_map(u32::to_le_bytes).collect();
    machine.memory.write(buffer, 0, &words).unwrap();
    let mut loaded = Loaded::load(text.into(), &mut machine.memory)?;
    let arguments = [
        Value { bits: Memory::address(buffer), bytes: 8, is_pointer: true },
        Value { bits: 64, bytes: 4, is_pointer: false },
    ];
    let shape = Shape { grid: [blocks, 1, 1], block: [64, 1, 1], shared: 64 };
    machine.launch(&mut loaded, "test", shape, &arguments)?;
    let mut out = vec![0; 256];
    machine.memory.read(buffer, 0, &mut out).unwrap();
    Ok(out.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
}

#[track_caller]
fn fault(body: &str, blocks: u32) -> Fault {
    match run(body, blocks) {
        Err(Error::Fault { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

/// The text is refused before it runs.
#[track_caller]
fn refused(body: &str) -> Error {
    match run(body, 1) {
        Err(Error::Fault { fault, .. }) => panic!("ran into {fault}"),
        Err(error) => error,
        Ok(_) => panic!("ran"),
    }
}

#[test]
fn arithmetic_must_say_how_it_rounds() {
    let with = |op: &str| format!("mov.b32 %r2, 0f3F800000;\n{op}");
    for op in [
        "add.f32 %r3, %r2, %r2;",
        "mul.f32 %r3, %r2, %r2;",
        "sub.f32 %r3, %r2, %r2;",
        "add.f64 %d5, 0d3FF0000000000000, 0d3FF0000000000000;",
        "fma.f32 %r3, %r2, %r2, %r2;",
        "cvt.f32.s32 %r3, %r1;",
        "cvt.f16.f32 %h1, %r2;",
    ] {
        assert!(matches!(refused(&with(op)), Error::Unrounded { .. }), "{op}");
    }
    for op in [
        "add.rn.ftz.f32 %r3, %r2, %r2;",
        "add.ftz.f32 %r3, %r2, %r2;",
        "add.rz.f32 %r3, %r2, %r2;",
        "add.rn.sat.f32 %r3, %r2, %r2;",
        "fma.rn.ftz.f32 %r3, %r2, %r2, %r2;",
        "div.approx.f32 %r3, %r2, %r2;",
        "div.full.f32 %r3, %r2, %r2;",
        "sqrt.approx.f32 %r3, %r2;",
        "rcp.rn.f32 %r3, %r2;",
        "ex2.approx.f32 %r3, %r2;",
        "setp.lt.ftz.f32 %p1, %r2, %r2;",
        "cvt.rn.ftz.f32.f64 %r3, 0d3FF0000000000000;",
        "red.global.add.f32 [%d2], %r2;",
        "min.ftz.f32 %r3, %r2, %r2;",
        "add.s32.x %r3, %r2, %r2;",
        "frobnicate.b32 %r3, %r2;",
        "ld.global.what.b32 %r3, [%d2];",
        "shf.x.wrap.b32 %r3, %r2, %r2, 1;",
    ] {
        let error = refused(&with(op));
        assert!(matches!(error, Error::Opcode { .. }), "{op}: {error}");
        assert_eq!(error.line(), Some(20), "{op}: {error}");
    }
}

#[test]
fn accesses_must_be_in_bounds_and_aligned() {
    assert!(run("ld.global.b32 %r2, [%d2];", 1).is_ok());
    assert!(matches!(
        fault("ld.global.b32 %r2, [%d2+4];", 1),
        Fault::OutOfBounds { space: Space::Global, .. }
    ));
    assert!(matches!(fault("ld.global.b32 %r2, [%d2+-4];", 1), Fault::OutOfBounds { .. }));
    assert!(matches!(fault("ld.global.b32 %r2, [%d2+2];", 1), Fault::Misaligned { bytes: 4, .. }));
    assert!(matches!(fault("ld.global.v2.b32 {%r2, %r3}, [%d2];", 1), Fault::Misaligned { bytes: 8, .. }));
    assert!(matches!(
        fault("st.shared.b32 [%d4+1000], %r1;", 1),
        Fault::OutOfBounds { space: Space::Shared, .. }
    ));
    assert!(matches!(fault("ld.global.b32 %r2, [%d3];", 1), Fault::OutOfBounds { .. }));
    assert!(matches!(fault("ld.b32 %r2, [%d3];", 1), Fault::OutOfBounds { .. }));
}

#[test]
fn what_nothing_has_written_must_not_be_read() {
    assert_eq!(fault("add.s32 %r3, %r9, 1;", 1), Fault::UninitializedRegister);
    assert_eq!(fault("st.global.b32 [%d2], %r9;", 1), Fault::UninitializedRegister);
    assert_eq!(fault("@%p3 bra end;\nend:", 1), Fault::UninitializedRegister);
    assert!(run("mov.b32 %r3, %r9;", 1).is_ok());
    assert_eq!(fault("mov.b32 %r3, %r9;\nadd.s32 %r3, %r3, 1;", 1), Fault::UninitializedRegister);
    assert!(matches!(
        fault("ld.shared.b32 %r2, [%d4];", 1),
        Fault::UninitializedMemory { space: Space::Shared, .. }
    ));
    // Only half of the threads write their word.
    let half = "setp.lt.u32 %p1, %r1, 32;\n@%p1 st.shared.b32 [%d4], %r1;\nbar.sync 0;\n";
    assert!(run(&format!("{half}@%p1 ld.shared.b32 %r2, [%d4];"), 1).is_ok());
    assert!(matches!(
        fault(&format!("{half}ld.shared.b32 %r2, [%d4];"), 1),
        Fault::UninitializedMemory { .. }
    ));
}

#[test]
fn threads_must_not_race() {
    // A neighbour's word, with and without the barrier.
    let swap = |barrier: &str| {
        format!(
            "st.shared.b32 [%d4], %r1;\n{barrier}\nxor.b32 %r2, %r1, 32;\nmul.wide.u32 %d5, %r2, 4;\nadd.s64 %d6, %d3, %d5;\n\
             ld.shared.b32 %r3, [%d6];\nst.global.b32 [%d2], %r3;"
        )
    };
    assert_eq!(run(&swap("bar.sync 0;"), 1).unwrap()[3], 35);
    // Without it the first warp reads what nothing has written yet.
    assert!(matches!(fault(&swap(""), 1), Fault::UninitializedMemory { .. }));
    assert!(matches!(fault(&swap("bar.warp.sync -1;"), 1), Fault::UninitializedMemory { .. }));
    // Within a warp its own barrier is enough.
    let near = |barrier: &str| swap(barrier).replace("%r1, 32", "%r1, 1");
    assert_eq!(run(&near("bar.warp.sync -1;"), 1).unwrap()[3], 2);
    assert!(matches!(fault(&near(""), 1), Fault::Race { space: Space::Shared, .. }));
    // One word for all.
    assert!(matches!(
        fault("st.shared.b32 [fixed], %r1;", 1),
        Fault::Race { now: "writes", before: "wrote", .. }
    ));
    let reads = "setp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.b32 [fixed], 7;\nbar.sync 0;\nld.shared.b32 %r2, [fixed];\n";
    assert!(run(reads, 1).is_ok());
    assert!(matches!(
        fault(&format!("{reads}@%p1 st.shared.b32 [fixed], 8;"), 1),
        Fault::Race { before: "read", .. }
    ));
    assert!(run(&format!("{reads}bar.sync 0;\n@%p1 st.shared.b32 [fixed], 8;"), 1).is_ok());
}

#[test]
fn blocks_must_not_race() {
    assert!(run("st.global.b32 [%d2], %r1;", 1).is_ok());
    assert!(matches!(fault("st.global.b32 [%d2], %r1;", 2), Fault::Race { space: Space::Global, .. }));
    // Each block reads all and the last one writes.
    let body = "mov.u32 %r2, %ctaid.x;\nld.global.b32 %r3, [%d2];\nsetp.eq.u32 %p1, %r2, 1;\n@%p1 st.global.b32 [%d2], %r3;";
    assert!(run(body, 1).is_ok());
    assert!(matches!(fault(body, 2), Fault::Race { now: "writes", before: "read", .. }));
    // Atomic changes do not race among themselves, but with reads.
    assert_eq!(run("red.global.add.u32 [%d0], 1;", 3).unwrap()[0], 192);
    assert!(matches!(
        fault("red.global.add.u32 [%d0], 1;\nld.global.b32 %r2, [%d0];", 1),
        Fault::Race { .. }
    ));
    let stale = "st.global.b32 [%d2], %r1;\nld.global.nc.b32 %r2, [%d2];";
    assert!(matches!(fault(stale, 1), Fault::NotConstant { .. }));
}

#[test]
fn barriers_must_be_met_by_all() {
    let branch = "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra inside;\nbra.uni join;\ninside:\nbar.sync 0;\njoin:\n";
    assert_eq!(fault(&format!("{branch}bar.sync 0;"), 1), Fault::Divergent);
    let warps = branch.replace("16", "32");
    assert_eq!(fault(&format!("{warps}bar.sync 0;"), 1), Fault::Divergent);
    assert_eq!(fault("setp.lt.u32 %p1, %r1, 16;\n@%p1 bar.sync 0;", 1), Fault::Divergent);
    // Threads that have ended are not waited for.
    assert!(run("setp.lt.u32 %p1, %r1, 16;\n@%p1 exit;\nbar.sync 0;", 1).is_ok());
    let shuffle = "setp.lt.u32 %p1, %r1, 16;\n@%p1 exit;\nshfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;";
    assert!(matches!(fault(shuffle, 1), Fault::Membership { .. }));
    let parted = "setp.lt.u32 %p1, %r1, 16;\n@%p1 shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;";
    assert_eq!(fault(parted, 1), Fault::Divergent);
}

#[test]
fn threads_that_part_meet_again() {
    // Odd threads loop as often as their number says; all shuffle afterwards.
    let body = "and.b32 %r2, %r1, 1;\nmov.b32 %r3, 0;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra join;\nmov.b32 %r4, 0;\nloop:\n\
                add.s32 %r3, %r3, 2;\nadd.s32 %r4, %r4, 1;\nsetp.lt.u32 %p2, %r4, %r1;\n@%p2 bra loop;\njoin:\n\
                shfl.sync.bfly.b32 %r5, %r3, 1, 31, -1;\nst.global.b32 [%d2], %r5;";
    let out = run(body, 1).unwrap();
    assert_eq!(out[4..8], [10, 0, 14, 0]);
}

#[test]
fn endless_loops_end() {
    assert!(matches!(fault("again:\nbra.uni again;", 1), Fault::StepLimit { .. }));
    assert_eq!(fault("trap;", 1), Fault::Trap);
    assert_eq!(fault("div.u32 %r2, %r1, %r1;", 1), Fault::DivisionByZero);
    assert_eq!(
        fault("ts: .branchtargets a, b;\nbrx.idx %r1, ts;\na:\nret;\nb:", 1),
        Fault::BranchIndex { index: 2, targets: 2 }
    );
}

#[test]
fn floats_round_to_nearest_with_subnormals() {
    let value = |op: &str| run(&format!("{op}\nst.global.b32 [%d2], %r3;"), 1).unwrap()[0];
    assert_eq!(value("mul.rn.f32 %r3, 0f00800000, 0f3F000000;"), 0x0040_0000);
    assert_eq!(value("fma.rn.f32 %r3, 0f3F800001, 0f3F800001, 0fBF800002;"), 0x2880_0000);
    assert_eq!(value("sub.rn.f32 %r3, 0f7F800000, 0f7F800000;"), 0x7fff_ffff);
    assert_eq!(value("div.rn.f32 %r3, 0f3F800000, 0f40400000;"), 0x3eaa_aaab);
    assert_eq!(value("min.f32 %r3, 0f80000000, 0f00000000;"), 0x8000_0000);
    assert_eq!(value("max.f32 %r3, 0f7FC00000, 0fC0000000;"), 0xc000_0000);
    assert_eq!(value("cvt.rni.s32.f32 %r3, 0f40200000;"), 2);
    assert_eq!(value("cvt.rzi.u32.f32 %r3, 0fC0200000;"), 0);
    assert_eq!(value("cvt.rn.f16.f32 %h1, 0f33000000;\ncvt.u32.u16 %r3, %h1;"), 0);
    assert_eq!(value("cvt.rn.f16.f32 %h1, 0f33000001;\ncvt.u32.u16 %r3, %h1;"), 1);
    assert_eq!(value("cvt.rn.f16.f32 %h1, 0f477FF000;\ncvt.u32.u16 %r3, %h1;"), 0x7c00);
    assert_eq!(value("cvt.rn.f16.f32 %h1, 0f477FEFFF;\ncvt.u32.u16 %r3, %h1;"), 0x7bff);
    assert_eq!(value("cvt.rn.bf16.f32 %h1, 0f3F808000;\ncvt.u32.u16 %r3, %h1;"), 0x3f80);
    assert_eq!(value("cvt.rn.bf16.f32 %h1, 0f3F818000;\ncvt.u32.u16 %r3, %h1;"), 0x3f82);
    assert_eq!(value("cvt.rn.bf16.f32 %h1, 0f00000001;\ncvt.u32.u16 %r3, %h1;"), 0);
}

#[test]
fn integers_of_all_kinds() {
    let value = |op: &str| run(&format!("{op}\nst.global.b32 [%d2], %r3;"), 1).unwrap()[0];
    assert_eq!(value("prmt.b32 %r3, 0x33221100, 0x77665544, 0x7152;"), 0x7711_5522);
    assert_eq!(value("prmt.b32 %r3, 0x80, 0, 0x8888;"), 0xffff_ffff);
    assert_eq!(value("lop3.b32 %r3, 12, 10, 9, 0x96;"), 12 ^ 10 ^ 9);
    assert_eq!(value("shf.l.wrap.b32 %r3, 0x80000000, 1, 1;"), 3);
    assert_eq!(value("shf.r.clamp.b32 %r3, 5, 7, 40;"), 7);
    assert_eq!(value("bfe.s32 %r3, 0xf0, 4, 4;"), u32::MAX);
    assert_eq!(value("bfi.b32 %r3, 5, 0xffffffff, 8, 4;"), 0xffff_f5ff);
    assert_eq!(
        value("dp4a.s32.u32 %r3, 0x01ff0203, 0x01ff0102, 10;"),
        10u32.wrapping_add(1).wrapping_sub(255) + 2 + 6
    );
    assert_eq!(value("mul.hi.s32 %r3, -2, 3;"), u32::MAX);
    assert_eq!(value("mad.lo.s32 %r3, 3, 4, -5;"), 7);
    assert_eq!(value("add.cc.u32 %r2, -1, 1;\naddc.u32 %r3, 3, 4;"), 8);
    assert_eq!(value("sub.cc.u32 %r2, 0, 1;\nsubc.u32 %r3, 9, 4;"), 4);
    assert_eq!(value("clz.b32 %r3, 256;"), 23);
    assert_eq!(value("bfind.u32 %r3, 256;"), 8);
    assert_eq!(value("brev.b32 %r3, 1;"), 1 << 31);
    assert_eq!(value("mov.b64 %d5, {%r1, 7};\nmov.b64 {_, %r3}, %d5;"), 7);
    assert_eq!(value("cvt.s32.s8 %r3, 0x80;"), 0xffff_ff80);
    assert_eq!(value("shl.b32 %r3, 1, 40;"), 0);
}

#[test]
fn matrices_multiply() {
    // Rows of ones times columns of twos over 32 terms, through a copy that is waited for and a transposed load.
    let body = "mov.b32 %r2, 0x01010101;\nmov.b32 %r3, 0x02020202;\nmov.b32 %r4, 5;\n\
                mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r5,%r6,%r7,%r8}, {%r2,%r2,%r2,%r2}, {%r3,%r3}, {%r4,%r4,%r4,%r4};\n\
                st.global.b32 [%d2], %r8;";
    assert_eq!(run(body, 1).unwrap()[9], 69);
    let body = "shl.b32 %r2, %r1, 2;\ncvt.u64.u32 %d5, %r2;\nadd.s64 %d6, %d3, %d5;\n\
                cp.async.ca.shared.global [%d6], [%d2], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\n\
                and.b32 %r3, %r1, 7;\nshl.b32 %r3, %r3, 4;\ncvt.u64.u32 %d7, %r3;\nadd.s64 %d8, %d3, %d7;\n\
                ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r5}, [%d8];\nst.global.b32 [%d2], %r5;";
    // Halves 0 and 8 of the buffer are the first column's: words 0 and 4.
    let out = run(body, 1).unwrap();
    assert_eq!(out[0], 4 << 16);
    let early = fault(&body.replace("cp.async.wait_group 0;", ""), 1);
    assert!(matches!(early, Fault::UninitializedMemory { space: Space::Shared, .. }));
}

#[test]
fn functions_are_called() {
    let text = format!(
        "{HEAD}.func (.param .b32 out) twice(.param .b32 x)\n{{\n.reg .b32 %r<3>;\nld.param.b32 %r1, [x];\nadd.s32 %r2, %r1, %r1;\n\
         st.param.b32 [out], %r2;\nret;\n}}\n.visible .entry test(.param .u64 p, .param .u32 n)\n{{\n.reg .b32 %r<9>;\n.reg .b64 %d<9>;\n\
         .reg .pred %p<2>;\nld.param.b64 %d0, [p];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %d1, %r1, 4;\nadd.s64 %d2, %d0, %d1;\n\
         mov.b32 %r3, %r1;\nsetp.lt.u32 %p1, %r1, 9;\n@%p1 bra skip;\n{{\n.param .b32 a;\n.param .b32 b;\nst.param.b32 [a], %r1;\n\
         call.uni (b), twice, (a);\nld.param.b32 %r3, [b];\n}}\nskip:\nst.global.b32 [%d2], %r3;\nret;\n}}\n"
    );
    let out = run_text(&text, 1).unwrap();
    assert_eq!((out[8], out[9], out[63]), (8, 18, 126));
    let recursive = text.replace("add.s32 %r2, %r1, %r1;", "call.uni (out), twice, (x);\nmov.b32 %r2, 0;");
    assert!(matches!(run_text(&recursive, 1), Err(Error::Syntax { .. })));
}
