//! `repops dispute open` and `repops provider serve`: the parties' side of disputes over HTTP/2.
//!
//! A provider follows what the referee passes on, computes the same state, and answers from a run that it can repeat. What
//! it has signed is in its store, on disk, before it is sent, so a provider that was killed says the same again and
//! contradicts nothing. Whether others' messages are signed is the referee's business: an answer counts only after the messages
//! that the provider has seen. Opening a dispute twice opens one.

use std::collections::BTreeMap;
use std::time::Duration;

use repops_http::{Client, HttpError, Limits, Method, Reply, Request, Server};
use repops_provenance::dispute::simulate::{GenerationStage, Kind, Scenario, Stage};
use repops_provenance::dispute::transcript::decode_events;
use repops_provenance::dispute::{Claimed, Followed, Message, Party, Player, Transcript};
use repops_provenance::generation::GenerationReceipt;
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use repops_provenance::{Info, Key};
use repops_referee::Store;
use serde_json::{Value, json};

use crate::arguments::{DisputeOpen, ProviderServe};
use crate::engine::{self, Engine};
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result, dispute, inputs, keys};

/// Larger answers of a referee are refused.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// A referee, or a provider, that has not answered in this time is asked again later.
const PATIENCE: Duration = Duration::from_secs(20);

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
        if let Ok(Value::Object(found)) = remote.json(&format!("disputes/{id}"))
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
        let (player, claim) = match &fault {
            None => stage.honest(),
            Some(scenario) => stage.liar(scenario)?,
        };
        return stand_for(arguments, &key, player, claim.sign(&key, Info::default()).into(), prior);
    }
    let tensors = inputs::read(&arguments.inputs, &program)?;
    let stage = Stage::keeping(&program, &tensors, &engine, hash, keep)?;
    stage.prepare();
    let (player, claim) = match &fault {
        None => stage.honest(),
        Some(scenario) => stage.liar(scenario)?,
    };
    stand_for(arguments, &key, player, claim.sign(&key, Info::default()).into(), prior)
}

/// Answers for a receipt that this party has signed, which is the one on disk if there is one.
fn stand_for(
    arguments: &ProviderServe,
    key: &Key,
    mut player: Player<'_>,
    receipt: Claimed,
    prior: Option<Claimed>,
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
    let said = Store::open(&log)?;
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
    let mut disputes = Disputes::new();
    let poll = Duration::from_millis(arguments.poll_ms);
    loop {
        if let Some(remote) = &remote {
            match answer_all(remote, &mut disputes, &receipt, key, &mut player, &said) {
                Ok(true) if arguments.until_over => return Ok(Answer::Yes),
                Ok(_) => {}
                Err(Failure(problem)) => note(&problem),
            }
        }
        match &server {
            Some(server) => {
                // As many as come before it is time to look at the referee again.
                while let Some(request) = server.next(poll) {
                    give(request, &receipt, &mut player);
                }
            }
            None => std::thread::sleep(poll),
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

/// Disputes under way, by their names, as far as they were seen; none where they are about another receipt of this key.
type Disputes = BTreeMap<String, Option<Followed>>;

/// Answers what is owed; whether there are disputes about the receipt and all are over.
fn answer_all(
    remote: &Remote,
    disputes: &mut Disputes,
    receipt: &Claimed,
    key: &Key,
    player: &mut Player<'_>,
    said: &Store,
) -> Result<bool> {
    let listed = remote.json("disputes")?;
    let own = receipt.signer().to_string();
    let (mut about, mut over) = (0, 0);
    for entry in listed.as_array().into_iter().flatten() {
        let is_own = entry["keys"].as_array().is_some_and(|keys| keys.iter().any(|k| k == own.as_str()));
        let Some(id) = entry["id"].as_str().filter(|_| is_own) else { continue };
        about += 1;
        if entry["over"] == true {
            over += 1;
            disputes.remove(id);
            continue;
        }
        // What goes wrong on the way is begun again.
        let followed = match disputes.remove(id) {
            Some(None) => None,
            Some(Some(mut followed)) => {
                let news = remote.get(&format!("disputes/{id}/events/{}", followed.events()))?;
                followed.go_on(&decode_events(&news)?);
                Some(followed)
            }
            None => {
                let transcript = remote.get(&format!("disputes/{id}/transcript"))?;
                Followed::new(&Transcript::decode(&transcript)?, receipt)?
            }
        };
        if let Some(followed) = followed.as_ref().filter(|followed| followed.owes()) {
            let message = answer(followed, key, player, said)?;
            let reply = remote.post(&format!("disputes/{id}/messages"), &message)?;
            let reply: Value = serde_json::from_slice(&reply)?;
            if reply["received"] == "ignored" {
                // Perhaps it is not the dispute that it was: from the beginning again.
                continue;
            }
        }
        disputes.insert(id.to_string(), followed);
    }
    Ok(about > 0 && about == over)
}

/// The message that is owed.
fn answer(followed: &Followed, key: &Key, player: &mut Player<'_>, said: &Store) -> Result<Vec<u8>> {
    let (state, party) = (followed.state(), followed.party());
    let (course, round) = (state.course(), state.round());
    // In one course nothing else is ever sent, whatever became of the process in between.
    if let Some(message) = said.said(course, round)? {
        return Ok(message);
    }
    let message = Message::sign(course, round, party, &player.answer(state, party)?, key).encode();
    said.add_said(course, round, &message)?;
    Ok(message)
}
