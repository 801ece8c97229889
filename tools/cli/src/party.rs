//! `repops dispute open` and `repops provider serve`: the parties' side of disputes over HTTP/2.
//!
//! A provider follows what the referee passes on, computes the same state, and answers from a run that it can repeat. It does not ask
//! again and again: one request brings its answer to the referee, which keeps the request until the next answer is owed. What
//! it has signed is in its log, on disk, before it is sent, so a provider that was killed says the same again and
//! contradicts nothing. Whether others' messages are signed is the referee's business: an answer counts only after the messages
//! that the provider has seen. Opening a dispute twice opens one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use repops::Digest;

use repops::exec::{HashLevel, Unobserved};
use repops_http::{Client, HttpError, Limits, Method, Reply, Request, Server};
use repops_provenance::dispute::simulate::{GenerationStage, Kind, Scenario, SimulateError, Stage};
use repops_provenance::dispute::transcript::decode_events;
use repops_provenance::dispute::{
    Claimed, Followed, Keep, Keeper, Message, Party, Player, SequenceLog, Transcript,
};
use repops_provenance::generation::GenerationReceipt;
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use repops_provenance::{Info, Key, verify};
use repops_referee::Said;
use repops_referee::exchange::{Entry, Exchange, Heard, News, SPARE};
use serde_json::{Value, json};

use crate::arguments::{DisputeOpen, ProviderServe};
use crate::engine::{self, Engine};
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result, dispute, inputs, keys};

/// Larger answers of a referee are refused.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// A referee, or a provider, that has not answered in this time is asked again later.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a request waits at the referee; the referee may take less for the most.
const WAIT: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
/// Of openings that are being sent.
const HELD_BYTES_MAX: u32 = 512 << 20;

/// A referee, or a provider, somewhere.
pub(crate) struct Remote(Client);

impl Remote {
    pub(crate) fn new(url: &str) -> Result<Remote> {
        Ok(Remote(Client::new(url, PATIENCE, REPLY_BYTES_MAX)?))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.read(path, self.0.get(path))
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.read(path, self.0.post(path, body))
    }

    fn read(&self, path: &str, reply: std::result::Result<Reply, HttpError>) -> Result<Vec<u8>> {
        let failed = |problem: String| Failure(format!("{}: {problem}", self.0.at(path)));
        let reply = reply.map_err(|error| failed(error.to_string()))?;
        if reply.is_success() {
            return Ok(reply.body);
        }
        Err(failed(format!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body).trim())))
    }

    fn json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get(path)?)?)
    }
}

/// Opens a dispute; with `wait` also says how it ended.
pub fn open(arguments: &DisputeOpen) -> Result<Answer> {
    let [first, second] = arguments.claims.as_slice() else {
        return Err(Failure::new("--claim is needed twice"));
    };
    let read = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).map_err(|e| Failure(format!("{}: {e}", path.display())));
        text.and_then(|text| match text.len() > RECEIPT_BYTES_MAX {
            true => Err(Failure(format!("{}: it is too large", path.display()))),
            false => Ok(text),
        })
    };
    let remote = Remote::new(&arguments.referee)?;
    let body = json!({ "first": read(first)?, "second": read(second)?, "number": arguments.number });
    let opened: Value = serde_json::from_slice(&remote.post("disputes", body.to_string().as_bytes())?)?;
    let id = opened["id"].as_str().ok_or_else(|| Failure::new("the referee gave no dispute"))?.to_string();
    if !arguments.wait {
        match arguments.json {
            true => print_json(&opened),
            false => print(&id),
        }
        return Ok(Answer::Yes);
    }
    note(&format!("dispute {id}: {}", remote.0.at(&format!("disputes/{id}/page"))));
    loop {
        // A referee that is away comes back.
        if let Ok(Value::Object(found)) = remote.json(&format!("disputes/{id}/verdict/{}", WAIT.as_millis()))
            && !found.get("verdict").is_none_or(Value::is_null)
        {
            if let Some(path) = &arguments.transcript {
                let transcript = remote.get(&format!("disputes/{id}/transcript"))?;
                repops_io::atomic::write(path, |out| out.write_all(&transcript))?;
            }
            dispute::show(found, arguments.json);
            return Ok(Answer::Yes);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Answers in every dispute of a referee that is about the claim.
pub fn provide(arguments: &ProviderServe) -> Result<Answer> {
    let key = match &arguments.key {
        Some(path) => Key::load(path)?,
        None => keys::user_key()?,
    };
    let program = engine::load(&arguments.program)?;
    let engine = Engine::new(&arguments.engine)?;
    engine.check_constants(&program)?;
    let hash = repops_kernels::bytes_digest;
    let keep = arguments.keep.of();
    let fault = match &arguments.fault {
        None => None,
        Some(fault) => {
            let step = match fault.as_str() {
                "random" => None,
                number => Some(number.parse().map_err(|_| Failure(format!("--fault {number}: a number")))?),
            };
            note("this provider is faulty, as it was told to be");
            Some(Scenario { kind: Kind::Output, step, seed: arguments.seed, liar: Party::Second })
        }
    };
    let prior = match std::fs::read(&arguments.claim) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure(format!("{}: {error}", arguments.claim.display()))),
        Ok(text) => Some(Claimed::parse(&text)?),
    };
    let like = match &arguments.generation {
        Some(path) => {
            let text = std::fs::read(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
            Some(GenerationReceipt::parse(&text)?.claim)
        }
        None => prior.as_ref().and_then(Claimed::generation).cloned(),
    };
    if let Some(like) = like {
        let stage = GenerationStage::regenerate(&program, like, &engine, hash, keep)?;
        stage.prepare();
        let (mut player, claim) = match &fault {
            None => stage.honest(),
            Some(scenario) => stage.liar(scenario)?,
        };
        player.clock = processor_time;
        let again = || {
            SequenceLog::run(&program, &stage.claim, &engine, hash, Keep::Nothing)
                .map_err(SimulateError::from)?;
            Ok(())
        };
        let receipt = claim.sign(&key, Info::default()).into();
        return stand_for(arguments, &key, player, receipt, prior, &again);
    }
    let tensors = inputs::read(&arguments.inputs, &program)?;
    let stage = Stage::keeping(&program, &tensors, &engine, hash, keep)?;
    stage.prepare();
    let (mut player, claim) = match &fault {
        None => stage.honest(),
        Some(scenario) => stage.liar(scenario)?,
    };
    player.clock = processor_time;
    let again = || {
        let mut unobserved = Unobserved;
        let mut keeper = Keeper::new(&program, Keep::Nothing, &mut unobserved);
        verify::run(&program, &tensors, HashLevel::Operators, &engine, hash, &mut keeper)
            .map_err(SimulateError::from)?;
        Ok(())
    };
    stand_for(arguments, &key, player, claim.sign(&key, Info::default()).into(), prior, &again)
}

/// Answers for a receipt that this party has signed, which is the one on disk if there is one.
fn stand_for(
    arguments: &ProviderServe,
    key: &Key,
    player: Player<'_>,
    receipt: Claimed,
    prior: Option<Claimed>,
    again: &dyn Fn() -> Result<()>,
) -> Result<Answer> {
    match prior {
        None => {
            let text = receipt.to_json();
            repops_io::atomic::write(&arguments.claim, |out| out.write_all(text.as_bytes()))?;
        }
        Some(claimed) if claimed.digest() != receipt.digest() => {
            return Err(Failure::new("this run does not give what the claim says, or another key signed it"));
        }
        Some(_) => {}
    }
    let log = arguments.log.clone().unwrap_or_else(|| arguments.claim.with_added_extension("said"));
    let said = Said::open(&log)?;
    let server = match &arguments.listen {
        // Openings are as large as the tensors of a step.
        Some(address) => {
            Some(Server::listen(address, Limits { held_bytes_max: HELD_BYTES_MAX, ..Limits::default() })?)
        }
        None => None,
    };
    note(&format!("answering for {} as {}", receipt.digest(), receipt.signer()));
    if let Some(server) = &server {
        note(&format!("openings at http://{}", server.address()));
    }
    let remote = arguments.referee.as_deref().map(Remote::new).transpose()?;
    let poll = Duration::from_millis(arguments.poll_ms);
    // Auditors are not to wait for disputes.
    let longest = if server.is_some() { poll } else { WAIT };
    let mut side =
        Side { key, receipt: &receipt, player, said, disputes: BTreeMap::new(), ready: VecDeque::new() };
    let mut meter = arguments.measure.then(|| Meter::start(again));
    // At first the referee says at once how things stand.
    let mut wait = Duration::ZERO;
    loop {
        let mut is_early = true;
        if let Some(remote) = &remote {
            let (took, turn) = dispute::timed(|| side.turn(remote, wait));
            match turn {
                Ok(turn) => {
                    is_early = !turn.is_fruitful && took < wait / 2;
                    if let Some(meter) = &mut meter {
                        meter.note(&turn, &side.player)?;
                    }
                    if turn.is_over && arguments.until_over {
                        return Ok(Answer::Yes);
                    }
                    wait = longest;
                }
                Err(Failure(problem)) => note(&problem),
            }
        }
        // Whoever has no room for requests that wait, or is away, is asked again later.
        let pause = if is_early { poll } else { Duration::ZERO };
        match &server {
            // As many as come before it is time to look at the referee again.
            Some(server) => {
                while let Some(request) = server.next(pause) {
                    give(request, &receipt, &mut side.player);
                }
            }
            None => std::thread::sleep(pause),
        }
    }
}

/// Answers an auditor.
fn give(request: Request, receipt: &Claimed, player: &mut Player<'_>) {
    let nothing = |what: &str| Reply::new(404, TEXT, what);
    let reply = match (&request.method, request.parts().as_slice()) {
        (&Method::GET, ["claim"]) => Reply::new(200, "application/json", receipt.to_json()),
        (&Method::GET, ["openings", index]) => match index.parse() {
            Ok(index) => {
                let opened = match receipt {
                    Claimed::Run(receipt) => player.open_record(&receipt.claim, index),
                    Claimed::Generation(receipt) => player.open_place(&receipt.claim, index),
                };
                match opened {
                    Ok(opening) => Reply::new(200, "application/octet-stream", opening.encode()),
                    Err(error) => Reply::new(500, TEXT, error.to_string()),
                }
            }
            Err(_) => nothing("there is no such record"),
        },
        _ => nothing("there is nothing here"),
    };
    request.answer(reply);
}

/// What a party knows of its disputes.
struct Side<'a> {
    key: &'a Key,
    receipt: &'a Claimed,
    player: Player<'a>,
    said: Said,
    /// Disputes under way as far as they were seen; none where they are about another receipt of this key.
    disputes: BTreeMap<Digest, Option<Followed>>,
    /// Answers that are to be sent.
    ready: VecDeque<(Digest, Vec<u8>)>,
}

/// What came of a request.
struct Turn {
    /// Whether anything was new.
    is_fruitful: bool,
    /// Whether there are disputes about the key and all are over.
    is_over: bool,
    /// How many that were followed have ended, and after how many rounds.
    ended: u32,
    rounds: u32,
}

impl Side<'_> {
    /// Sends an answer, if one is ready; hears what is new, and makes what is owed ready.
    fn turn(&mut self, remote: &Remote, wait: Duration) -> Result<Turn> {
        let said = self.ready.pop_front();
        let sent = said.as_ref().map(|(id, _)| *id);
        let wait = if self.ready.is_empty() { wait } else { Duration::ZERO };
        let events = |followed: &Option<Followed>| followed.as_ref().map_or(SPARE, Followed::events);
        let exchange = Exchange {
            key: self.receipt.signer(),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            known: self.disputes.iter().map(|(id, followed)| (*id, events(followed))).collect(),
            said,
        };
        let heard = remote.post("exchange", &exchange.encode());
        let heard = heard.and_then(|news| News::decode(&news).map_err(|error| Failure(error.to_string())));
        let mut news = match heard {
            Ok(news) => news,
            Err(failure) => {
                // Whether it arrived is not known: the dispute is begun again.
                sent.into_iter().for_each(|id| drop(self.disputes.remove(&id)));
                return Err(failure);
            }
        };
        let mut turn = Turn {
            is_fruitful: !news.entries.is_empty(),
            is_over: news.about > 0 && news.about == news.over,
            ended: 0,
            rounds: 0,
        };
        if let (Heard::Ignored(_), Some(id)) = (&news.heard, sent) {
            // Perhaps it is not the dispute that it was: from the beginning again, and not at once.
            self.forget(&id);
            news.entries.retain(|(other, _)| *other != id);
            turn.is_fruitful = false;
        }
        for (id, entry) in news.entries {
            match self.take(id, entry) {
                Ok(None) => {}
                Ok(Some(rounds)) => {
                    turn.ended += 1;
                    turn.rounds += rounds;
                }
                Err(Failure(problem)) => {
                    note(&format!("dispute {}: {problem}", id.to_hex()));
                    self.forget(&id);
                    turn.is_fruitful = false;
                }
            }
        }
        Ok(turn)
    }

    fn forget(&mut self, id: &Digest) {
        self.disputes.remove(id);
        self.ready.retain(|(other, _)| other != id);
    }

    /// Follows what is new in a dispute and answers what is owed; how many rounds it had if it has ended.
    fn take(&mut self, id: Digest, entry: Entry) -> Result<Option<u32>> {
        let followed = match (entry, self.disputes.remove(&id)) {
            (Entry::Events(bytes), Some(Some(mut followed))) => {
                followed.go_on(&decode_events(&bytes)?);
                Some(followed)
            }
            (Entry::Whole(bytes), _) => Followed::new(&Transcript::decode(&bytes)?, self.receipt)?,
            (Entry::Events(_) | Entry::Gone, _) => {
                self.forget(&id);
                return Ok(None);
            }
        };
        if let Some(followed) = &followed {
            if followed.state().id() != id {
                return Err(Failure::new("the referee tells another dispute"));
            }
            if followed.state().verdict().is_some() {
                let rounds = followed.state().round() + 1;
                self.forget(&id);
                return Ok(Some(rounds));
            }
            if followed.owes() {
                let message = answer(followed, self.key, &mut self.player, &mut self.said)?;
                self.ready.retain(|(other, _)| *other != id);
                self.ready.push_back((id, message));
            }
        }
        self.disputes.insert(id, followed);
        Ok(None)
    }
}

/// The message that is owed.
fn answer(followed: &Followed, key: &Key, player: &mut Player<'_>, said: &mut Said) -> Result<Vec<u8>> {
    let (state, party) = (followed.state(), followed.party());
    let (course, round) = (state.course(), state.round());
    // In one course nothing else is ever sent, whatever became of the process in between.
    if let Some(message) = said.find(course, round)? {
        return Ok(message);
    }
    let message = Message::sign(course, round, party, &player.answer(state, party)?, key).encode();
    said.add(course, round, &message)?;
    Ok(message)
}

/// Processor time of this whole process that disputes take, and what a run takes.
struct Meter<'a> {
    again: &'a dyn Fn() -> Result<()>,
    /// When the last dispute ended, the partial runs until then and their time.
    since: (Duration, u32, Duration),
}

/// So many runs are timed for each dispute.
const RUNS: usize = 3;

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl<'a> Meter<'a> {
    fn start(again: &'a dyn Fn() -> Result<()>) -> Meter<'a> {
        Meter { again, since: (processor_time(), 0, Duration::ZERO) }
    }

    /// Prints what the disputes that have ended took since the last of them.
    fn note(&mut self, turn: &Turn, player: &Player<'_>) -> Result<()> {
        if turn.ended == 0 {
            return Ok(());
        }
        let (since, reruns, rerun) = self.since;
        let now = processor_time();
        let mut runs = [0.0; RUNS];
        for run in &mut runs {
            let begin = processor_time();
            (self.again)()?;
            *run = crate::run::milliseconds(processor_time() - begin);
        }
        print_json(&json!({
            "disputes": turn.ended,
            "rounds": turn.rounds,
            "processor_ms": crate::run::milliseconds(now - since),
            "reruns": player.reruns - reruns,
            "rerun_ms": crate::run::milliseconds(player.rerun_time - rerun),
            "run_ms": runs,
        }));
        self.since = (processor_time(), player.reruns, player.rerun_time);
        Ok(())
    }
}
