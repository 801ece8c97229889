//! Files that other software wrote (`data/make.py`), and what is made of damaged ones.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use repops::ops::SymType;
use repops::{DType, DimExpr, Tensor};
use repops_io::npy::{self, NpyError};
use repops_io::npz::{self, Archive, NpzError};
use repops_io::read::FormatError;
use repops_io::{Source, atomic, raw, read_tensor, tensor_proto};

const SHAPE: [usize; 3] = [2, 3, 4];
/// NumPy's names of types, as in the files' names.
const TYPES: [(&str, DType); 11] = [
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// 0 .. 23 in a type.
fn base(dtype: DType) -> Tensor {
    let element = |i: u8| -> Vec<u8> {
        match dtype {
            DType::F16 => half::f16::from_f32(i as f32).to_le_bytes().to_vec(),
            DType::BF16 => half::bf16::from_f32(i as f32).to_le_bytes().to_vec(),
            DType::F32 => (i as f32).to_le_bytes().to_vec(),
            DType::F64 => (i as f64).to_le_bytes().to_vec(),
            DType::Bool => vec![i % 2],
            _ => (i as u64).to_le_bytes()[..dtype.size()].to_vec(),
        }
    };
    let data: Vec<u8> = (0..24).flat_map(element).collect();
    Tensor::from_bytes(dtype, &SHAPE, &data).unwrap()
}

#[test]
fn numpys_files_are_read() {
    for (name, dtype) in TYPES {
        assert_eq!(npy::parse(&bytes(&format!("little_{name}.npy"))).unwrap(), base(dtype), "{name}");
        assert_eq!(npy::parse(&bytes(&format!("big_fortran_{name}.npy"))).unwrap(), base(dtype), "{name}");
    }
    assert_eq!(npy::parse(&bytes("bool.npy")).unwrap(), base(DType::Bool));
    for name in ["version_2.npy", "version_3.npy"] {
        assert_eq!(npy::parse(&bytes(name)).unwrap(), base(DType::F32), "{name}");
    }
    assert_eq!(npy::parse(&bytes("scalar.npy")).unwrap(), Tensor::scalar(7.5f32));
    assert_eq!(npy::parse(&bytes("vector.npy")).unwrap(), Tensor::from_slice(&[5], &[0i64, 1, 2, 3, 4]));
    assert_eq!(npy::parse(&bytes("empty.npy")).unwrap(), Tensor::zeros(DType::F32, &[0, 3]).unwrap());
}

#[test]
fn bfloat16_is_read_where_it_is_expected() {
    for name in ["bf16_as_u2.npy", "bf16_as_void.npy"] {
        let found = npy::parse_as(&bytes(name), Some(DType::BF16)).unwrap();
        assert_eq!(found, base(DType::BF16), "{name}");
    }
    assert_eq!(npy::parse(&bytes("bf16_as_u2.npy")).unwrap().dtype(), DType::U16);
    assert!(matches!(npy::parse(&bytes("bf16_as_void.npy")), Err(NpyError::Descr { .. })));
}

#[test]
fn pickles_are_refused() {
    assert_eq!(npy::parse(&bytes("object.npy")), Err(NpyError::Descr { descr: "|O".to_string() }));
}

#[test]
fn archives_are_read() {
    for name in ["stored.npz", "deflated.npz"] {
        let members = npz::parse(&bytes(name)).unwrap();
        assert_eq!(members[0], ("x".to_string(), base(DType::F32)), "{name}");
        assert_eq!(members[1], ("y".to_string(), Tensor::from_slice(&[3], &[0i64, 1, 2])), "{name}");
    }
    let file = bytes("deflated.npz");
    let missing = Archive::open(&file).unwrap().tensor("z", None);
    assert!(matches!(missing, Err(NpzError::NoMember { members, .. }) if members == ["x", "y"]));
    assert!(matches!(Archive::open(&bytes("bzip2.npz")), Err(NpzError::Member { .. })));
    assert!(matches!(Archive::open(&bytes("bool.npy")), Err(NpzError::NotZip)));
}

#[test]
fn an_archive_that_declares_gigabytes_is_refused() {
    let file = bytes("deflated.npz");
    let entry = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let mut bomb = file.clone();
    bomb[entry + 24..entry + 28].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert!(matches!(Archive::open(&bomb), Err(NpzError::Bomb { declared: 0x7fff_ffff, .. })));
    // As much as deflate could make of it, but not what it is.
    let mut longer = file.clone();
    longer[entry + 24..entry + 28].copy_from_slice(&4096u32.to_le_bytes());
    assert!(matches!(Archive::open(&longer).unwrap().tensor("x", None), Err(NpzError::Member { .. })));
    let mut damaged = file;
    damaged[entry + 16] ^= 1;
    assert_eq!(
        Archive::open(&damaged).unwrap().tensor("x", None).unwrap_err(),
        NpzError::Member { name: "x".to_string(), problem: "its checksum is wrong" }
    );
}

#[test]
fn an_archive_whose_members_add_up_to_gigabytes_is_refused() {
    // A directory alone: members that all claim the same 4 MiB.
    let stored = 4u32 << 20;
    let archive = |unpacked: u32| {
        let mut bytes = vec![0u8; stored as usize];
        for name in [b'a', b'b'] {
            let mut entry = [0u8; 47];
            entry[..4].copy_from_slice(b"PK\x01\x02");
            entry[10] = 8;
            entry[20..24].copy_from_slice(&stored.to_le_bytes());
            entry[24..28].copy_from_slice(&unpacked.to_le_bytes());
            entry[28] = 1;
            entry[46] = name;
            bytes.extend(entry);
        }
        bytes.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
        bytes.extend(94u32.to_le_bytes());
        bytes.extend(stored.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    };
    assert_eq!(Archive::open(&archive(1 << 31)).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    let large = archive((1 << 31) + (4 << 20));
    let Err(NpzError::TooLarge { name, declared, .. }) = Archive::open(&large) else { panic!("not refused") };
    assert_eq!((name.as_str(), declared), ("b", (1 << 32) + (8 << 20)));
}

#[test]
fn onnx_tensors_are_read() {
    for (name, dtype) in TYPES.into_iter().chain([("bool", DType::Bool)]) {
        assert_eq!(tensor_proto::parse(&bytes(&format!("raw_{name}.pb"))).unwrap(), base(dtype), "{name}");
        assert_eq!(tensor_proto::parse(&bytes(&format!("typed_{name}.pb"))).unwrap(), base(dtype), "{name}");
    }
    assert_eq!(tensor_proto::parse(&bytes("raw_bf16.pb")).unwrap(), base(DType::BF16));
    assert!(tensor_proto::parse(b"").is_err());
    // dims = [2^62], no data.
    let huge = b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x40\x10\x01";
    assert!(matches!(tensor_proto::parse(huge), Err(tensor_proto::ProtoError::Tensor(_))));
    let negative = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01";
    assert!(matches!(tensor_proto::parse(negative), Err(tensor_proto::ProtoError::Dims(_))));
}

#[test]
fn raw_bytes_take_the_declared_type() {
    let declared = |dims: Vec<DimExpr>| SymType::new(DType::F32, dims);
    let data: Vec<u8> = base(DType::F32).bytes().to_vec();
    let fixed = declared(vec![2i64.into(), 12i64.into()]);
    assert_eq!(raw::parse(&data, Some(&fixed), None).unwrap().shape(), [2, 12]);
    let open = declared(vec![DimExpr::sym("batch"), 6i64.into()]);
    assert_eq!(raw::parse(&data, Some(&open), None).unwrap().shape(), [4, 6]);
    assert!(matches!(raw::parse(&data[1..], Some(&open), None), Err(raw::RawError::Length { .. })));
    assert!(raw::parse(&data[4..], Some(&fixed), None).is_err());
    let two_open = declared(vec![DimExpr::sym("a"), DimExpr::sym("b")]);
    assert!(matches!(raw::parse(&data, Some(&two_open), None), Err(raw::RawError::OpenShape { .. })));
    assert_eq!(raw::parse(&data, None, None), Err(raw::RawError::NoType));
    let never = declared(vec![DimExpr::sym("a"), 0i64.into()]);
    assert!(raw::parse(&data, Some(&never), None).is_err());
}

#[test]
fn the_extension_decides() {
    let read =
        |file: &str, name: &str| read_tensor(Source { path: &path(file), name, declared: None, dtype: None });
    assert_eq!(read("little_f4.npy", "x").unwrap(), base(DType::F32));
    assert_eq!(read("stored.npz", "x").unwrap(), base(DType::F32));
    assert_eq!(read("only.npz", "x").unwrap(), base(DType::F32));
    assert_eq!(read("raw_f4.pb", "x").unwrap(), base(DType::F32));
    assert!(matches!(read("stored.npz", "z").unwrap_err().error, FormatError::WhichMember { .. }));
    assert!(matches!(read("make.py", "x").unwrap_err().error, FormatError::Extension { .. }));
    assert!(matches!(read("nothing.npy", "x").unwrap_err().error, FormatError::Io(_)));
    let hint = Source { path: &path("bf16_as_u2.npy"), name: "x", declared: None, dtype: Some(DType::BF16) };
    assert_eq!(read_tensor(hint).unwrap(), base(DType::BF16));
    let wrong = Source { path: &path("little_f4.npy"), name: "x", declared: None, dtype: Some(DType::I32) };
    assert!(matches!(read_tensor(wrong).unwrap_err().error, FormatError::DType { .. }));
}

#[test]
fn a_gigabyte_declared_in_a_kilobyte_is_an_error() {
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(text.len() as u16).to_le_bytes());
        file.extend_from_slice(text.as_bytes());
        file.resize(1024, 0);
        npy::parse(&file)
    };
    assert!(matches!(header("268435456,"), Err(NpyError::Truncated { .. })));
    assert!(matches!(header("9223372036854775808, 9223372036854775808"), Err(NpyError::Tensor(_))));
    assert!(matches!(header("9223372036854775808, 0"), Err(NpyError::Tensor(_))));
    assert!(matches!(header("99999999999999999999999"), Err(NpyError::Header { .. })));
    assert!(matches!(header(&"1, ".repeat(17)), Err(NpyError::Tensor(_))));
    assert!(matches!(header("-1,"), Err(NpyError::Header { .. })));
    assert!(matches!(header("1,"), Err(NpyError::TrailingBytes { .. })));
}

#[test]
fn cut_and_changed_files_never_panic() {
    let names = std::fs::read_dir(path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|n| !n.ends_with(".py")) {
        let file = bytes(&name);
        let try_all = |file: &[u8]| {
            let _ = npy::parse_as(file, Some(DType::BF16));
            let _ = npz::parse(file);
            let _ = tensor_proto::parse(file);
        };
        for len in 0..file.len() {
            try_all(&file[..len]);
            if name.ends_with("npy") {
                assert!(npy::parse(&file[..len]).is_err(), "{name} cut at {len}");
            } else if name.ends_with("npz") {
                assert!(npz::parse(&file[..len]).is_err(), "{name} cut at {len}");
            }
        }
        for at in 0..file.len() {
            for value in [0, 0xff, file[at] ^ 1, file[at] ^ 0x80] {
                let mut changed = file.clone();
                changed[at] = value;
                try_all(&changed);
            }
        }
    }
}

#[test]
fn staged_files_appear_together_or_not_at_all() {
    let folder = std::env::temp_dir().join(format!("repops-io-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let listing = || std::fs::read_dir(&folder).unwrap().count();
    let mut staged = atomic::Staged::new();
    staged.write(&folder.join("a"), |out| out.write_all(b"first")).unwrap();
    assert!(!folder.join("a").exists());
    let failed = staged.write(&folder.join("b"), |_| Err(std::io::Error::other("no more")));
    assert!(failed.unwrap_err().to_string().ends_with("b: no more"));
    drop(staged);
    assert_eq!(listing(), 0, "nothing is left behind");
    atomic::write(&folder.join("a"), |out| out.write_all(b"one")).unwrap();
    atomic::write(&folder.join("a"), |out| out.write_all(b"two")).unwrap();
    assert_eq!(std::fs::read(folder.join("a")).unwrap(), b"two");
    assert!(atomic::write(&folder.join("no/such/folder"), |_| Ok(())).is_err());
    assert!(atomic::write(&folder, |_| Ok(())).is_err());
    assert_eq!(listing(), 1);
    // A place that is taken when all are written: what was there before stays.
    let mut staged = atomic::Staged::new();
    staged.write(&folder.join("a"), |out| out.write_all(b"three")).unwrap();
    staged.write(&folder.join("b"), |out| out.write_all(b"four")).unwrap();
    std::fs::create_dir(folder.join("b")).unwrap();
    assert!(staged.commit().is_err());
    assert_eq!(std::fs::read(folder.join("a")).unwrap(), b"two");
    assert_eq!(listing(), 2);
    // One place for two files, however it is written.
    let mut staged = atomic::Staged::new();
    staged.write(&folder.join("c"), |out| out.write_all(b"five")).unwrap();
    let again = staged.write(&folder.join("b/../c"), |out| out.write_all(b"six"));
    assert!(again.unwrap_err().to_string().contains("two outputs"));
    drop(staged);
    assert_eq!(listing(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A pipe stays a pipe, as `/dev/null` must stay a device; a link stays a link.
#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_never_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let folder = std::env::temp_dir().join(format!("repops-io-kinds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    atomic::write(&pipe, |out| out.write_all(b"through")).unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    std::fs::write(folder.join("target"), b"old").unwrap();
    std::os::unix::fs::symlink("target", folder.join("link")).unwrap();
    atomic::write(&folder.join("link"), |out| out.write_all(b"new")).unwrap();
    assert!(folder.join("link").is_symlink());
    assert_eq!(std::fs::read(folder.join("target")).unwrap(), b"new");
    std::fs::remove_dir_all(&folder).unwrap();
}

proptest! {
    #[test]
    fn what_is_written_is_read(code in 0usize..23, shape in prop::collection::vec(0usize..4, 0..5)) {
        let dtype = DType::ALL[code];
        let len = shape.iter().product::<usize>() * dtype.size();
        // 0 and 1 are elements of every type.
        let data: Vec<u8> = (0..len).map(|i| (i % 2) as u8).collect();
        let tensor = Tensor::from_bytes(dtype, &shape, &data).unwrap();
        let mut file = Vec::new();
        npy::write(&mut file, tensor.view()).unwrap();
        prop_assert_eq!((file.len() - len) % 64, 0);
        prop_assert_eq!(npy::parse_as(&file, Some(dtype)).unwrap(), tensor);
    }
}

#[test]
fn strings_are_numpys() {
    use repops::packed::{Strings, Value};
    let texts = Strings::new(&[2, 2], ["a", "", "é😀", "b c"]);
    let tensor = texts.clone().into_tensor();
    for name in ["strings.npy", "strings_fortran.npy", "strings_big.npy"] {
        assert_eq!(npy::parse_as(&bytes(name), Some(DType::Packed)).unwrap(), tensor, "{name}");
    }
    let mut written = Vec::new();
    npy::write(&mut written, tensor.view()).unwrap();
    assert_eq!(written, bytes("strings.npy"));
    // What NumPy's strings cannot hold, and what is no tensor, is written as its bytes.
    let long =
        Strings::new(&[2000], (0..2000).map(|i| "x".repeat(if i == 0 { 10_000 } else { 0 }))).into_tensor();
    let nul = Strings::new(&[1], ["a\0"]).into_tensor();
    let sequence =
        Value::Sequence(vec![Value::Strings(texts), Value::Tensor(Tensor::scalar(1.5f32))]).into_tensor();
    for tensor in [long, nul, sequence] {
        let mut written = Vec::new();
        npy::write(&mut written, tensor.view()).unwrap();
        assert_eq!(npy::parse(&written).unwrap().dtype(), DType::U8);
        assert_eq!(npy::parse_as(&written, Some(DType::Packed)).unwrap(), tensor);
        *written.last_mut().unwrap() ^= 0x80;
        written.push(0);
        assert!(npy::parse_as(&written, Some(DType::Packed)).is_err());
    }
    let mut bad = bytes("strings.npy");
    let at = bad.len() - 4;
    bad[at + 2] = 0xff;
    assert!(matches!(npy::parse(&bad), Err(NpyError::CodePoint { .. })));
    bad.pop();
    assert!(matches!(npy::parse(&bad), Err(NpyError::Truncated { .. })));
}
