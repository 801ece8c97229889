//! Hopper's barriers, copies and products as the interpreter runs them: what is right gives the right sums, and each thing that has to be
//! there is missed when it is not.

use repops_ptx::{Error, Fault, Loaded, Machine, Memory, Shape, Value};

/// Bytes of the operands: 64 rows and 8 columns of 128 terms.
const A_BYTES: usize = 64 * 128;
const BYTES: usize = A_BYTES + 8 * 128;

/// A warpgroup that copies both operands, multiplies 64 terms and stores its sums. Its lines are what tests change.
const SOUND: &str = "\
.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 shared[];
.visible .entry test(.param .u64 p, .param .u64 q)
.maxntid 128
{
.reg .pred %p<9>;
.reg .b32 %r<40>;
.reg .b64 %d<20>;
ld.param.b64 %d0, [p];
ld.param.b64 %d1, [q];
mov.u32 %r0, %tid.x;
shr.u32 %r1, %r0, 5;
mov.b64 %d2, shared;
cvt.u32.u64 %r2, %d2;
add.s32 %r3, %r2, 8192;
add.s32 %r4, %r2, 9216;
add.s64 %d3, %d0, 8192;
setp.eq.u32 %p1, %r0, 0;
@%p1 mbarrier.init.shared::cta.b64 [%r4], 1;
@%p1 fence.proxy.async.shared::cta;
bar.sync 0;
@!%p1 bra wait;
mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r4], 9216;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d0], 8192, [%r4];
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%d3], 1024, [%r4];
wait:
mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], 0;
@!%p2 bra wait;
shr.u32 %r5, %r2, 4;
cvt.u64.u32 %d4, %r5;
or.b64 %d5, %d4, 0x4000004000010000;
add.s64 %d6, %d5, 512;
mov.b32 %r10, 5;
mov.b32 %r11, 5;
mov.b32 %r12, 5;
mov.b32 %r13, 5;
setp.eq.u32 %p3, 0, 0;
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r10, %r11, %r12, %r13}, %d5, %d6, %p3;
add.s64 %d7, %d5, 2;
add.s64 %d8, %d6, 2;
wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r10, %r11, %r12, %r13}, %d7, %d8, %p3;
wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
mul.wide.u32 %d9, %r0, 16;
add.s64 %d10, %d1, %d9;
st.global.v4.b32 [%d10], {%r10, %r11, %r12, %r13};
ret;
}
";

/// Byte `term` of a row that lies as the swizzle of 128 bytes wants it.
fn place(row: usize, term: usize) -> usize {
    row * 128 + ((term / 16) ^ (row % 8)) * 16 + term % 16
}

fn operands() -> Vec<u8> {
    (0..BYTES).map(|index| (index * 37 + index / 128 * 11) as u8).collect()
}

/// The sums of all threads in order.
fn run(text: &str) -> Result<Vec<u32>, Error> {
    run_by(text, 128)
}

fn run_by(text: &str, threads: u32) -> Result<Vec<u32>, Error> {
    let mut machine = Machine::default();
    machine.steps_max = 1_000_000;
    let (from, to) = (machine.memory.allocate(BYTES).unwrap(), machine.memory.allocate(2048).unwrap());
    machine.memory.write(from, 0, &operands()).unwrap();
    let mut loaded = Loaded::load(text.into(), &mut machine.memory)?;
    let pointer = |number| Value { bits: Memory::address(number), bytes: 8, is_pointer: true };
    let shape = Shape { grid: [1, 1, 1], block: [threads, 1, 1], shared: 9232 };
    machine.launch(&mut loaded, "test", shape, &[pointer(from), pointer(to)])?;
    let mut out = vec![0; 2048];
    machine.memory.read(to, 0, &mut out).unwrap();
    Ok(out.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
}

/// [`SOUND`] with another text in the place of one.
#[track_caller]
fn changed(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "{from}");
    SOUND.replacen(from, to, 1)
}

#[track_caller]
fn fault(from: &str, to: &str) -> Fault {
    match run(&changed(from, to)) {
        Err(Error::Fault { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sums_are_those_of_the_rows_and_columns() {
    let bytes = operands();
    let (a, b) = bytes.split_at(A_BYTES);
    let sums = run(SOUND).unwrap();
    for (index, &sum) in sums.iter().enumerate() {
        let (thread, part) = (index / 4, index % 4);
        let row = thread / 32 * 16 + thread % 32 / 4 + part / 2 * 8;
        let column = thread % 4 * 2 + part % 2;
        let term = |k: usize| i32::from(a[place(row, k)] as i8) * i32::from(b[place(column, k)] as i8);
        assert_eq!(sum as i32, 5 + (0..64).map(term).sum::<i32>(), "{row}, {column}");
    }
    // Without the sums before, and with unsigned bytes.
    let fresh = run(&changed("setp.eq.u32 %p3, 0, 0;", "setp.ne.u32 %p3, 0, 0;")).unwrap();
    let term = |k: usize| i32::from(a[place(0, k)] as i8) * i32::from(b[place(0, k)] as i8);
    assert_eq!(fresh[0] as i32, (32..64).map(term).sum::<i32>());
    let unsigned = run(&SOUND.replace("s32.s8.s8", "s32.u8.s8")).unwrap();
    let term = |k: usize| i32::from(a[place(0, k)]) * i32::from(b[place(0, k)] as i8);
    assert_eq!(unsigned[0] as i32, 5 + (0..64).map(term).sum::<i32>());
}

#[test]
fn products_need_their_fence_their_group_and_their_wait() {
    assert_eq!(fault("wgmma.fence.sync.aligned;", ""), Fault::Accumulator);
    assert_eq!(
        fault("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned;\nmov.b32 %r12, 7;"),
        Fault::Accumulator
    );
    assert_eq!(fault("add.s64 %d7, %d5, 2;", "add.s64 %d7, %d5, 2;\nmov.b32 %r12, 7;"), Fault::Accumulator);
    // Read, or moved and then read, too early.
    let early = [("wgmma.wait_group.sync.aligned 0;", ""), ("sync.aligned 0;", "sync.aligned 1;")];
    for (from, to) in early.into_iter().chain([("wgmma.commit_group.sync.aligned;", "")]) {
        assert_eq!(fault(from, to), Fault::UninitializedRegister, "{from}");
    }
    let moved = changed("wgmma.commit_group", "mov.b32 %r14, %r10;\nwgmma.commit_group");
    let moved = moved.replace("{%r10, %r11, %r12, %r13};\nret", "{%r14, %r11, %r12, %r13};\nret");
    assert!(matches!(run(&moved), Err(Error::Fault { fault: Fault::UninitializedRegister, .. })));
    assert_eq!(
        fault("wgmma.commit_group.sync.aligned;", "wgmma.commit_group.sync.aligned;\nret;"),
        Fault::Unfinished
    );
    // Another fence between two products changes nothing, and neither does one where nothing is multiplied.
    let more = changed("add.s64 %d7, %d5, 2;", "add.s64 %d7, %d5, 2;\nwgmma.fence.sync.aligned;");
    assert_eq!(run(&more).unwrap(), run(SOUND).unwrap());
    // After a wait, the next product needs a fence of its own.
    let again = "wgmma.wait_group.sync.aligned 0;\nwgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r10, %r11, %r12, %r13}, %d5, %d6, %p3;\n\
                 wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;";
    assert_eq!(fault("wgmma.wait_group.sync.aligned 0;", again), Fault::Accumulator);
}

#[test]
fn a_warpgroup_goes_together() {
    assert_eq!(
        fault("add.s64 %d7, %d5, 2;", "mul.wide.u32 %d7, %r1, 2;\nadd.s64 %d7, %d7, %d5;"),
        Fault::NotUniform
    );
    assert_eq!(
        fault("add.s64 %d7, %d5, 2;", "mul.wide.u32 %d7, %r0, 2;\nadd.s64 %d7, %d7, %d5;"),
        Fault::NotUniform
    );
    assert_eq!(
        fault("wgmma.fence.sync.aligned;", "setp.eq.u32 %p4, %r1, 3;\n@%p4 ret;\nwgmma.fence.sync.aligned;"),
        Fault::Divergent
    );
    assert_eq!(fault("wgmma.fence.sync.aligned;", "@%p1 wgmma.fence.sync.aligned;"), Fault::Divergent);
    assert!(matches!(run_by(SOUND, 64), Err(Error::Fault { fault: Fault::Membership { .. }, .. })));
    // Three warpgroups begin with 168 registers each: two may have 240 when one has 24 left, not 32.
    let three =
        changed("@!%p1 bra wait;", "setmaxnreg.inc.sync.aligned.u32 240;\n@%p4 ret;\n@!%p1 bra wait;")
            .replace(".maxntid 128", ".maxntid 384")
            .replace("bar.sync 0;", "setp.ge.u32 %p4, %r0, 128;\nsetp.ge.u32 %p5, %r0, 256;\nbar.sync 0;");
    assert!(matches!(run_by(&three, 384), Err(Error::Fault { fault: Fault::Registers, .. })));
    let two = three.replace("setmaxnreg.inc", "@%p5 bra less;\nsetmaxnreg.inc").replacen(
        "ret;\n}",
        "ret;\nless:\nsetmaxnreg.dec.sync.aligned.u32 24;\nret;\n}",
        1,
    );
    assert_eq!(run_by(&two, 384).unwrap(), run(SOUND).unwrap());
    let more = two.replace("u32 24;", "u32 32;");
    assert!(matches!(run_by(&more, 384), Err(Error::Fault { fault: Fault::Registers, .. })));
    assert!(run(&changed("wgmma.fence", "setmaxnreg.inc.sync.aligned.u32 240;\nwgmma.fence")).is_ok());
    assert_eq!(
        fault(
            "wgmma.fence",
            "@!%p1 bra on;\non:\nsetp.eq.u32 %p4, %r1, 3;\n@%p4 setmaxnreg.inc.sync.aligned.u32 240;\nwgmma.fence"
        ),
        Fault::NotUniform
    );
}

#[test]
fn descriptors_are_those_that_are_known() {
    for other in [
        // No swizzle, and that of 64 bytes; a distance between rows that is no multiple of eight rows'; another offset of columns, of a
        // pattern; a bit that means nothing.
        "0x0000004000010000",
        "0x8000004000010000",
        "0x4000002000010000",
        "0x4000004000000000",
        "0x4002004000010000",
        "0x4000804000010000",
    ] {
        assert!(matches!(fault("0x4000004000010000", other), Fault::Descriptor { .. }), "{other}");
    }
    // Behind the last terms of a row, and between rows.
    assert!(matches!(fault("add.s64 %d7, %d5, 2;", "add.s64 %d7, %d5, 7;"), Fault::Descriptor { .. }));
    assert!(matches!(fault("add.s64 %d7, %d5, 2;", "add.s64 %d7, %d5, 8;"), Fault::Descriptor { .. }));
    assert!(matches!(
        fault("add.s64 %d6, %d5, 512;", "add.s64 %d6, %d5, 576;"),
        Fault::UninitializedMemory { .. }
    ));
    assert!(matches!(fault("add.s64 %d6, %d5, 512;", "add.s64 %d6, %d5, 640;"), Fault::OutOfBounds { .. }));
}

#[test]
fn copies_are_waited_for() {
    let wait = "mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], 0;\n@!%p2 bra wait;";
    assert!(matches!(fault(wait, ""), Fault::UninitializedMemory { .. }));
    // The phase before the first one counts as complete.
    assert!(matches!(fault("[%r4], 0;\n@!%p2", "[%r4], 1;\n@!%p2"), Fault::UninitializedMemory { .. }));
    // One warp waits for the others, which do not know.
    let one = format!(
        "setp.ne.u32 %p4, %r1, 0;\n@%p4 bra on;\nagain:\n{}\non:",
        wait.replace("bra wait", "bra again")
    );
    assert!(matches!(fault(wait, &one), Fault::UnderWay { .. }));
    let lane = one.replace("setp.ne.u32 %p4, %r1, 0;", "setp.ne.u32 %p4, %r0, 0;");
    assert!(matches!(fault(wait, &lane), Fault::UnderWay { .. }));
    // With a barrier of the block they do.
    assert_eq!(run(&changed(wait, &format!("{one}\nbar.sync 0;"))).unwrap(), run(SOUND).unwrap());
    // Bytes that nobody copies, and too many; an arrival too many, and one that is missing.
    assert_eq!(fault("_, [%r4], 9216;", "_, [%r4], 9232;"), Fault::Deadlock);
    assert!(matches!(fault("_, [%r4], 9216;", "_, [%r4], 9200;"), Fault::SharedBarrier { .. }));
    assert_eq!(
        fault("mbarrier.init.shared::cta.b64 [%r4], 1;", "mbarrier.init.shared::cta.b64 [%r4], 2;"),
        Fault::Deadlock
    );
    assert!(matches!(
        fault("wait:\n", "mbarrier.arrive.shared::cta.b64 _, [%r4];\nwait:\n"),
        Fault::SharedBarrier { .. }
    ));
    assert_eq!(
        fault(
            "shr.u32 %r5, %r2, 4;",
            "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%d3], 1024, [%r4];\nret;\nshr.u32 %r5, %r2, 4;"
        ),
        Fault::Unfinished
    );
}

#[test]
fn barriers_are_made_before_they_are_used() {
    assert!(matches!(fault("@%p1 fence.proxy.async.shared::cta;", ""), Fault::Unfenced { .. }));
    assert!(matches!(fault("bar.sync 0;", ""), Fault::SharedBarrier { .. }));
    assert!(matches!(fault("@%p1 mbarrier.init.shared::cta.b64 [%r4], 1;", ""), Fault::SharedBarrier { .. }));
    assert!(matches!(fault("[%r4], 1;", "[%r4], 0;"), Fault::SharedBarrier { .. }));
    assert!(matches!(fault("add.s32 %r4, %r2, 9216;", "add.s32 %r4, %r2, 9220;"), Fault::Misaligned { .. }));
    assert!(matches!(fault("add.s32 %r4, %r2, 9216;", "add.s32 %r4, %r2, 9232;"), Fault::OutOfBounds { .. }));
    // A barrier is no memory.
    assert!(matches!(
        fault("shr.u32 %r5", "@%p1 st.shared.b32 [%r4], 1;\nshr.u32 %r5"),
        Fault::UnderWay { .. }
    ));
    assert!(matches!(
        fault("shr.u32 %r5", "@%p1 ld.shared.b32 %r9, [%r4];\nshr.u32 %r5"),
        Fault::UninitializedMemory { .. }
    ));
    // Copies of what is there, into what is there, by sixteen bytes.
    assert!(matches!(fault("[%d0], 8192,", "[%d0], 8200,"), Fault::Misaligned { .. }));
    assert!(matches!(fault("[%d0], 8192,", "[%d1], 8192,"), Fault::OutOfBounds { .. }));
    assert!(matches!(fault("add.s64 %d3, %d0, 8192;", "add.s64 %d3, %d0, 8193;"), Fault::Misaligned { .. }));
}

#[test]
fn what_products_read_is_not_overwritten() {
    let again =
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d0], 8192, [%r4];";
    let loads = format!("@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r4], 8192;\n@%p1 {again}");
    let finish = "last:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], 1;\n@!%p2 bra last;\n";
    let commit = "wgmma.commit_group.sync.aligned;";
    let wait = "wgmma.wait_group.sync.aligned 0;";
    // Under way; waited for by this warp, but not by the others; by all.
    assert!(matches!(fault(commit, &format!("{loads}\n{commit}")), Fault::UnderWay { .. }));
    // The others find the barrier a phase ahead.
    assert_eq!(fault(wait, &format!("{wait}\n{loads}\n{finish}")), Fault::Deadlock);
    assert_eq!(
        run(&changed(wait, &format!("{wait}\nbar.sync 0;\n{loads}\n{finish}"))).unwrap(),
        run(SOUND).unwrap()
    );
    assert!(matches!(
        fault(commit, &format!("@%p1 st.shared.b32 [%r2], 1;\n{commit}")),
        Fault::UnderWay { .. }
    ));
    // By a second barrier at which every warp arrives when it has waited.
    let second = SOUND
        .replace("bar.sync 0;", "add.s32 %r6, %r2, 9224;\n@%p1 mbarrier.init.shared::cta.b64 [%r6], 4;\nbar.sync 0;")
        .replacen(
            wait,
            &format!(
                "{wait}\nand.b32 %r7, %r0, 31;\nsetp.eq.u32 %p5, %r7, 0;\n@%p5 mbarrier.arrive.shared::cta.b64 _, [%r6];\n@!%p1 bra last;\n\
                 free:\nmbarrier.try_wait.parity.shared::cta.b64 %p4, [%r6], 0;\n@!%p4 bra free;\n{loads}\n{finish}"
            ),
            1,
        );
    assert_eq!(run(&second).unwrap(), run(SOUND).unwrap());
    let early = second.replace(&format!("{wait}\nand.b32"), "and.b32").replacen(
        "last:\n",
        &format!("last:\n{wait}\n"),
        1,
    );
    assert!(matches!(run(&early), Err(Error::Fault { fault: Fault::UnderWay { .. }, .. })), "{early}");
    let unasked = second.replace("@!%p4 bra free;", "");
    assert!(matches!(run(&unasked), Err(Error::Fault { fault: Fault::UnderWay { .. }, .. })));
}

#[test]
fn what_threads_store_is_fenced_before_products_read_it() {
    // Each thread stores 72 bytes; the rest is as before.
    let copy = SOUND.find("@!%p1 bra wait;").unwrap();
    let end = SOUND.find("shr.u32 %r5").unwrap();
    let stores = "mov.b32 %r20, 0;\nstore:\nmul.lo.s32 %r21, %r20, 512;\nshl.b32 %r22, %r0, 2;\nadd.s32 %r21, %r21, %r22;\n\
                  cvt.u64.u32 %d11, %r21;\nadd.s64 %d12, %d0, %d11;\nld.global.b32 %r23, [%d12];\nadd.s32 %r24, %r2, %r21;\n\
                  st.shared.b32 [%r24], %r23;\nadd.s32 %r20, %r20, 1;\nsetp.lt.u32 %p4, %r20, 18;\n@%p4 bra store;\n\
                  fence.proxy.async.shared::cta;\nbar.sync 0;\n";
    let text = format!("{}{stores}{}", &SOUND[..copy], &SOUND[end..]);
    assert_eq!(run(&text).unwrap(), run(SOUND).unwrap());
    let without = |what: &str| match run(&text.replace(&format!("{what}\n"), "")) {
        Err(Error::Fault { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert!(matches!(without("@%p4 bra store;"), Fault::UninitializedMemory { .. }));
    let late = text.replace(
        "fence.proxy.async.shared::cta;\nbar.sync 0;\nshr",
        "bar.sync 0;\nfence.proxy.async.shared::cta;\nshr",
    );
    // A fence behind the barrier orders the own stores alone.
    let none = text.replace("fence.proxy.async.shared::cta;\nbar.sync 0;\nshr", "bar.sync 0;\nshr");
    assert!(matches!(run(&none), Err(Error::Fault { fault: Fault::Unfenced { .. }, .. })));
    assert!(matches!(run(&late), Err(Error::Fault { fault: Fault::Unfenced { .. }, .. })));
    let alone = text
        .replace("fence.proxy.async.shared::cta;\nbar.sync 0;\nshr", "fence.proxy.async.shared::cta;\nshr");
    assert!(matches!(run(&alone), Err(Error::Fault { .. })));
}

#[test]
fn other_forms_and_targets_are_refused() {
    let refused = |from: &str, to: &str| {
        let text = changed(from, to);
        match run(&text) {
            Err(Error::Opcode { .. } | Error::Operand { .. }) => {}
            other => panic!("{to}: {other:?}"),
        }
    };
    refused(".target sm_90a", ".target sm_90");
    refused(".target sm_90a", ".target sm_100a");
    refused(".target sm_90a", ".target sm_80");
    for (from, to) in [
        ("m64n8k32", "m64n20k32"),
        ("m64n8k32", "m64n8k16"),
        ("s32.s8.s8", "s32.s8.s4"),
        ("s32.s8.s8", "s32.satfinite.s8.s8"),
        ("s32.s8.s8 {%r10, %r11", "s32.s8.s8 {%r10, %r10"),
        ("{%r10, %r11, %r12, %r13}, %d5", "{%r10, %r11, %r12}, %d5"),
        ("%d5, %d6, %p3;", "%d5, %d6, %p3, 1;"),
        ("wgmma.fence.sync.aligned", "wgmma.fence.aligned"),
        ("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 8"),
        ("mbarrier.init.shared::cta.b64", "mbarrier.init.shared::cluster.b64"),
        ("mbarrier.try_wait.parity", "mbarrier.try_wait"),
        ("_, [%r4], 9216", "%d9, [%r4], 9216"),
        ("cp.async.bulk.shared::cluster.global", "cp.async.bulk.shared::cta.global"),
        ("complete_tx::bytes [%r2]", "complete_tx::bytes.multicast::cluster [%r2]"),
        ("fence.proxy.async.shared::cta", "fence.proxy.tensormap::generic"),
        ("wgmma.fence", "setmaxnreg.inc.sync.aligned.u32 244;\nwgmma.fence"),
    ] {
        refused(from, to);
    }
}
