//! Work beside other work, and recordings, on the interpreter: what a GPU does with its streams and graphs.

use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots};
use repops_cuda::{Device, Error};
use repops_ptx::{Buffer, Interpreter};

fn filled(device: &Interpreter, bytes: usize, with: u8) -> Buffer {
    let buffer = device.alloc(bytes).unwrap();
    device.write(&buffer, 0, &vec![with; bytes]).unwrap();
    buffer
}

fn root(device: &Interpreter, of: &Buffer, len: usize, out: &Buffer) -> Result<(), Error> {
    roots(device, &[Bytes { buffer: of, offset: 0, len }], out, 0)
}

fn read(device: &Interpreter, buffer: &Buffer, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    device.read(buffer, 0, &mut out).unwrap();
    out
}

#[test]
fn who_does_not_wait_for_work_beside_meets_an_error() {
    let device = Interpreter::new();
    let (data, other, out) = (filled(&device, 4096, 1), filled(&device, 4096, 2), filled(&device, 32, 0));
    let beside = || device.beside(&mut || root(&device, &data, 2048, &out)).unwrap();
    beside();
    // What is only read may be read, and the rest of it written.
    device.copy(&data, 0, &other, 0, 4096).unwrap();
    device.write(&data, 2048, &[3; 64]).unwrap();
    let told = |result: Result<(), Error>| assert!(result.unwrap_err().to_string().contains("beside"));
    told(device.write(&data, 0, &[3; 64]));
    told(device.copy(&other, 0, &data, 1024, 64));
    told(device.read(&out, 0, &mut [0; 32]));
    told(root(&device, &data, 2048, &out));
    told(root(&device, &out, 32, &other));
    device.join().unwrap();
    let hashed = read(&device, &out, ROOT_BYTES);
    device.write(&data, 0, &[3; 64]).unwrap();
    // Work beside waits for what was given before, and for earlier work beside.
    beside();
    beside();
    device.join().unwrap();
    assert_ne!(read(&device, &out, ROOT_BYTES), hashed);
    // Two works beside: the first one's are still under way.
    beside();
    device.beside(&mut || device.copy(&other, 0, &other, 2048, 16)).unwrap();
    told(device.read(&out, 0, &mut [0; 32]));
    told(device.read(&other, 2048, &mut [0; 16]));
    device.join().unwrap();
    // Nothing is read beside, and nothing beside that.
    told(device.beside(&mut || device.read(&out, 0, &mut [0; 32])));
    told(device.beside(&mut || device.beside(&mut || Ok(()))));
    told(device.beside(&mut || device.join()));
    device.join().unwrap();
}

#[test]
fn what_is_recorded_is_done_when_it_is_replayed() {
    let device = Interpreter::new();
    let (data, copy) = (filled(&device, 3000, 1), filled(&device, 3000, 9));
    let (out, beside_out) = (filled(&device, 32, 0), filled(&device, 32, 0));
    let recording = device
        .record(&mut || {
            device.copy(&data, 0, &copy, 0, 3000)?;
            device.beside(&mut || root(&device, &copy, 3000, &beside_out))?;
            root(&device, &data, 2500, &out)?;
            root(&device, &data, 3000, &out)?;
            device.join()
        })
        .unwrap();
    assert_eq!(read(&device, &copy, 1), [9]);
    assert_eq!(device.launched().len(), 0);
    let plain = filled(&device, 32, 0);
    for with in [1, 5, 6] {
        device.write(&data, 0, &vec![with; 3000]).unwrap();
        device.replay(&recording).unwrap();
        root(&device, &data, 3000, &plain).unwrap();
        let wanted = read(&device, &plain, 32);
        assert_eq!(read(&device, &out, 32), wanted);
        assert_eq!(read(&device, &beside_out, 32), wanted);
        assert_eq!(read(&device, &copy, 1), [with]);
    }
}

#[test]
fn a_recording_keeps_the_memory_that_it_took() {
    let device = Interpreter::new();
    let data = filled(&device, 64, 7);
    let out = filled(&device, 64, 0);
    let mut escaped = None;
    let recording = device
        .record(&mut || {
            // What is given back is taken again; contents are not.
            let first = device.alloc(64)?;
            device.copy(&data, 0, &first, 0, 64)?;
            device.copy(&first, 0, &out, 0, 16)?;
            drop(first);
            let table = device.put(&[8; 16])?;
            let second = device.alloc(64)?;
            device.copy(&table, 0, &second, 0, 16)?;
            drop(table);
            let third = device.alloc(16)?;
            device.copy(&second, 0, &third, 0, 16)?;
            device.copy(&third, 0, &out, 16, 16)?;
            escaped = Some(third);
            Ok(())
        })
        .unwrap();
    for _ in 0..2 {
        device.replay(&recording).unwrap();
        let found = read(&device, &out, 32);
        assert_eq!((&found[..16], &found[16..]), (&[7; 16][..], &[8; 16][..]));
    }
    drop(recording);
    assert_eq!(read(&device, escaped.as_ref().unwrap(), 16), [8; 16]);
}

#[test]
fn memory_that_was_given_back_holds_nothing() {
    let device = Interpreter::new();
    let (data, out) = (filled(&device, 64, 7), filled(&device, 64, 0));
    let recording = device
        .record(&mut || {
            let first = device.alloc(64)?;
            device.copy(&data, 0, &first, 0, 64)?;
            drop(first);
            let second = device.alloc(64)?;
            root(&device, &second, 64, &out)
        })
        .unwrap();
    assert!(device.replay(&recording).is_err());
}

#[test]
fn what_a_recording_cannot_hold_is_refused() {
    let device = Interpreter::new();
    let data = filled(&device, 64, 7);
    let refused = |work: &mut dyn FnMut() -> Result<(), Error>| {
        assert!(matches!(device.record(work), Err(Error::Unsupported { .. })));
        // It has ended all the same.
        device.read(&data, 0, &mut [0; 64]).unwrap();
    };
    refused(&mut || device.read(&data, 0, &mut [0; 64]));
    refused(&mut || device.write(&data, 0, &[0; 64]));
    refused(&mut || device.synchronize());
    refused(&mut || device.record(&mut || Ok(())).map(|_| ()));
    refused(&mut || device.beside(&mut || Ok(())));
    let recording = device.record(&mut || Ok(())).unwrap();
    refused(&mut || device.replay(&recording));
    device.beside(&mut || Ok(())).unwrap();
    assert!(matches!(device.record(&mut || Ok(())), Err(Error::Unsupported { .. })));
    device.join().unwrap();
}
