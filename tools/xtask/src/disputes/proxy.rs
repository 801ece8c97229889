//! A bad network: bytes arrive late, some much later (as when they are lost and sent again), and connections break.

use crate::command::{Error, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Milliseconds that every piece takes, and the most beyond these.
const DELAY_MS: u64 = 15;
const JITTER_MS: u64 = 25;
/// Of a hundred pieces so many come only when they are sent again; of connections so many break.
const LATE_PERCENT: u64 = 5;
const RESEND_MS: u64 = 250;
const BREAK_PERCENT: u64 = 4;

static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

fn below(n: u64) -> u64 {
    // A counter, mixed: which piece meets what is not the same in any two runs anyway.
    let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % n
}

pub fn serve(addresses: &str) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{addresses}: {error}"));
    let (from, to) = addresses.split_once(',').ok_or_else(|| failed(&"two addresses are needed"))?;
    STATE.fetch_add(u64::from(std::process::id()) << 32, Ordering::Relaxed);
    let listener = TcpListener::bind(from).map_err(|error| failed(&error))?;
    for client in listener.incoming().flatten() {
        let to = to.to_owned();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(DELAY_MS + below(JITTER_MS)));
            if below(100) < BREAK_PERCENT {
                return;
            }
            let Ok(server) = TcpStream::connect(to) else { return };
            let (Ok(back_from), Ok(back_to)) = (server.try_clone(), client.try_clone()) else { return };
            std::thread::spawn(move || carry(back_from, back_to));
            carry(client, server);
        });
    }
    Ok(())
}

/// Bytes from one side to the other until it ends or breaks.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let late = if below(100) < LATE_PERCENT { RESEND_MS } else { 0 };
        std::thread::sleep(Duration::from_millis(DELAY_MS + below(JITTER_MS) + late));
        if below(200) < BREAK_PERCENT {
            // In the middle of a message, perhaps after the other side has acted on it.
            let _ = to.write_all(&piece[..count / 2]);
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
