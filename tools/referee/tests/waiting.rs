//! Requests that wait: they return when something happens, when their time is up and when the referee ends, and there are not too many.
#![forbid(unsafe_code)]

#[path = "../../../provenance/tests/programs/mod.rs"]
#[allow(dead_code)] // Other tests use the rest of it.
mod programs;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use programs::PROGRAMS;
use repops::Digest;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops_http::{Client, HttpError};
use repops_provenance::dispute::simulate::{Kind, Scenario, Stage};
use repops_provenance::dispute::transcript::decode_events;
use repops_provenance::dispute::{Claimed, Followed, Message, Party, Player, Transcript};
use repops_provenance::{Info, Key, PublicKey};
use repops_referee::exchange::{Entry, Exchange, Heard, News, SPARE};
use repops_referee::{Options, RefereeError, serve};
use serde_json::{Value, json};

const LONG: u32 = u32::MAX;

/// A referee in a folder of its own.
struct Referee {
    url: String,
    data: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), RefereeError>>>,
}

impl Referee {
    fn start(answer_ms: u64) -> Referee {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let data = std::env::temp_dir().join(format!("repops-waiting-{}-{number}", std::process::id()));
        let is_over = Arc::new(AtomicBool::new(false));
        let options = Options { listen: "127.0.0.1:0".to_string(), data: data.clone(), answer_ms };
        let (say, said) = std::sync::mpsc::channel();
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let note = move |text: &str| drop(say.send(text.to_string()));
            let note = std::sync::Mutex::new(note);
            serve(&options, &|text| (note.lock().unwrap())(text), &|| over.load(Ordering::SeqCst))
        });
        let text = said.recv_timeout(Duration::from_secs(20)).unwrap();
        let url = text.rsplit(' ').next().unwrap().to_string();
        Referee { url, data, is_over, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Duration::from_secs(20), 1 << 20).unwrap()
    }

    fn stop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Referee {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    #[expect(clippy::disallowed_methods, reason = "how long requests wait is what is tested")]
    let start = Instant::now();
    let found = act();
    (start.elapsed(), found)
}

fn ask(client: &Client, exchange: &Exchange) -> News {
    let reply = client.post("exchange", &exchange.encode()).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    News::decode(&reply.body).unwrap()
}

fn keys() -> [Key; 2] {
    [Key::from_seed([1; 32]), Key::from_seed([2; 32])]
}

/// Players of a dispute with their receipts.
fn sides<'a>(stage: &Stage<'a>, seed: u64) -> [(Player<'a>, Claimed); 2] {
    let scenario = Scenario { kind: Kind::Output, step: None, seed, liar: Party::Second };
    let [a, b] = keys();
    let (honest, claim) = stage.honest();
    let (liar, lie) = stage.liar(&scenario).unwrap();
    [(honest, claim.sign(&a, Info::default()).into()), (liar, lie.sign(&b, Info::default()).into())]
}

fn open(client: &Client, receipts: [&Claimed; 2]) -> Digest {
    let [first, second] = receipts.map(Claimed::to_json);
    let body = json!({ "first": first, "second": second, "number": 0 }).to_string();
    let reply = client.post("disputes", body.as_bytes()).unwrap();
    let opened: Value = serde_json::from_slice(&reply.body).unwrap();
    Digest::from_hex(opened["id"].as_str().unwrap()).unwrap()
}

/// A party that waits for a dispute and plays it to its end; how many requests that took, and rounds.
fn play(client: &Client, key: &Key, receipt: &Claimed, player: &mut Player<'_>) -> (u32, u32) {
    let mut followed: Option<(Digest, Followed)> = None;
    let (mut said, mut requests) = (None, 0);
    loop {
        let known = followed.iter().map(|(id, followed)| (*id, followed.events())).collect();
        let exchange = Exchange { key: key.public(), wait_ms: LONG, known, said: said.take() };
        let is_said = exchange.said.is_some();
        let news = ask(client, &exchange);
        requests += 1;
        assert_eq!(news.heard, if is_said { Heard::Accepted } else { Heard::Nothing });
        assert!(news.entries.len() == 1 && news.about == 1, "it waits for what concerns the party");
        let (id, entry) = &news.entries[0];
        match (entry, &mut followed) {
            (Entry::Whole(bytes), None) => {
                let transcript = Transcript::decode(bytes).unwrap();
                followed = Some((*id, Followed::new(&transcript, receipt).unwrap().unwrap()));
            }
            (Entry::Events(bytes), Some((_, followed))) => followed.go_on(&decode_events(bytes).unwrap()),
            _ => panic!("{entry:?}"),
        }
        let (id, followed) = followed.as_ref().unwrap();
        let (state, party) = (followed.state(), followed.party());
        if state.verdict().is_some() {
            assert_eq!(news.over, 1);
            return (requests, state.round());
        }
        assert!(followed.owes());
        let body = player.answer(state, party).unwrap();
        said = Some((*id, Message::sign(state.course(), state.round(), party, &body, key).encode()));
    }
}

#[test]
fn a_round_is_one_request() {
    let (program, inputs) = &PROGRAMS[1];
    let stage = Stage::new(program, inputs, &Reference, bytes_digest).unwrap();
    let referee = Referee::start(60_000);
    for seed in 0..2 {
        let referee = if seed == 0 { &referee } else { &Referee::start(60_000) };
        let [mut honest, liar] = sides(&stage, seed);
        let receipts = [honest.1.clone(), liar.1.clone()];
        drop(liar);
        let (took, (id, played)) = timed(|| {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let stage = Stage::new(program, inputs, &Reference, bytes_digest).unwrap();
                    let [_, mut liar] = sides(&stage, seed);
                    play(&referee.client(), &keys()[1], &liar.1, &mut liar.0)
                });
                let opening = scope.spawn(|| {
                    // Both wait already.
                    std::thread::sleep(Duration::from_millis(300));
                    let client = referee.client();
                    let id = open(&client, receipts.each_ref());
                    let verdict = client.get(&format!("disputes/{}/verdict/10000", id.to_hex())).unwrap();
                    let verdict: Value = serde_json::from_slice(&verdict.body).unwrap();
                    assert_eq!(verdict["loser"], json!("second"), "{verdict}");
                    id
                });
                let own = play(&referee.client(), &keys()[0], &honest.1, &mut honest.0);
                (opening.join().unwrap(), [own, other.join().unwrap()])
            })
        });
        assert!(took < Duration::from_secs(8), "somebody waited in vain: {took:?}");
        for (requests, rounds) in played {
            assert!(rounds > 2 && requests <= rounds + 2, "{requests} requests in {rounds} rounds");
        }
        // Whoever knew it is told nothing of what is over, and whoever knew something else that it is gone.
        let other = Digest([7; 32]);
        let known = vec![(id, 0), (other, 3)];
        let mut exchange = Exchange { key: keys()[0].public(), wait_ms: 0, known, said: None };
        let news = ask(&referee.client(), &exchange);
        assert_eq!((news.about, news.over, news.entries.len()), (1, 1, 2));
        assert!(matches!(&news.entries[0].1, Entry::Events(bytes) if !bytes.is_empty()));
        assert_eq!(news.entries[1], (other, Entry::Gone));
        exchange.known = vec![(id, SPARE)];
        assert_eq!(ask(&referee.client(), &exchange).entries, []);
        exchange.known = vec![(id, 1 << 40)];
        assert!(matches!(ask(&referee.client(), &exchange).entries[0].1, Entry::Whole(_)));
    }
}

#[test]
fn waits_are_bounded_and_end_with_the_referee() {
    let mut referee = Referee::start(60_000);
    let client = referee.client();
    let exchange = |wait_ms| Exchange { key: PublicKey([9; 32]), wait_ms, known: vec![], said: None };
    let (took, news) = timed(|| ask(&client, &exchange(0)));
    assert!(took < Duration::from_millis(150) && news == News::default(), "{took:?}");
    let (took, news) = timed(|| ask(&client, &exchange(500)));
    assert!(took > Duration::from_millis(350) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(news, News::default());
    // Ten seconds at most, whatever is asked for.
    let (took, _) = timed(|| ask(&client, &exchange(LONG)));
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(13), "{took:?}");
    let missing = client.get(&format!("disputes/{}/verdict/{LONG}", Digest([1; 32]).to_hex())).unwrap();
    assert_eq!(missing.status, 404);
    for path in ["disputes/01/verdict/1", "disputes/01/verdict/-1", "disputes/01/verdict/1e9"] {
        assert_eq!(client.get(path).unwrap().status, 404, "{path}");
    }
    let (took, (after, news)) = timed(|| {
        let waiting = std::thread::spawn(move || timed(|| ask(&client, &exchange(LONG))));
        std::thread::sleep(Duration::from_millis(500));
        referee.stop();
        waiting.join().unwrap()
    });
    assert_eq!(news, News::default());
    assert!(after > Duration::from_millis(300) && took < Duration::from_secs(5), "{after:?} of {took:?}");
}

#[test]
fn so_many_wait_for_one_key_and_those_that_go_make_room() {
    let referee = Referee::start(60_000);
    let exchange = Exchange { key: PublicKey([9; 32]), wait_ms: LONG, known: vec![], said: None };
    let patience = Duration::from_millis(700);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = Client::new(&referee.url, patience, 1 << 20).unwrap();
                let late = client.post("exchange", &exchange.encode());
                assert!(matches!(late, Err(HttpError::Late { .. })), "{late:?}");
                // It is still there, and has given the connection up.
                std::thread::sleep(2 * patience);
            });
        }
        std::thread::sleep(patience / 2);
        let (took, _) = timed(|| ask(&referee.client(), &exchange));
        assert!(took < patience / 2, "there is no room for a ninth: {took:?}");
        // Others are not concerned.
        let other = Exchange { key: PublicKey([8; 32]), wait_ms: 300, ..exchange.clone() };
        assert!(timed(|| ask(&referee.client(), &other)).0 > Duration::from_millis(150));
        std::thread::sleep(patience);
        let again = Exchange { wait_ms: 300, ..exchange.clone() };
        assert!(timed(|| ask(&referee.client(), &again)).0 > Duration::from_millis(150), "there is room");
    });
}

#[test]
fn what_cannot_be_read_or_counts_nowhere_is_answered_at_once() {
    let (program, inputs) = &PROGRAMS[1];
    let stage = Stage::new(program, inputs, &Reference, bytes_digest).unwrap();
    let referee = Referee::start(1_000);
    let client = referee.client();
    let [honest, liar] = sides(&stage, 5);
    let id = open(&client, [&honest.1, &liar.1]);
    let good = Exchange { key: keys()[0].public(), wait_ms: LONG, known: vec![(id, 0)], said: None };
    for bytes in [b"words".to_vec(), vec![0; 1000], [good.encode(), vec![1]].concat(), vec![255; 200_000]] {
        let (took, reply) = timed(|| client.post("exchange", &bytes).unwrap());
        assert_eq!(reply.status, 400);
        assert!(took < Duration::from_secs(1));
    }
    assert_eq!(client.post("exchange", &[0; 3_000_000]).unwrap().status, 413);
    let messages = [(id, b"words".to_vec()), (id, vec![0; 300_000]), (Digest([7; 32]), b"words".to_vec())];
    for (to, message) in messages {
        let exchange = Exchange { said: Some((to, message)), ..good.clone() };
        let (took, news) = timed(|| ask(&client, &exchange));
        assert!(matches!(news.heard, Heard::Ignored(_)), "{news:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    // Nobody answers: the time alone ends it, and those that wait hear that.
    let (took, news) = timed(|| ask(&client, &good));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!((news.about, news.over), (1, 1));
    assert!(matches!(news.entries.as_slice(), [(of, Entry::Events(_))] if *of == id), "{news:?}");
}
