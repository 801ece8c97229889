//! `repops dispute open` and `repops provider serve`: the parties' side of disputes over HTTP.
//!
//! A provider keeps nothing: it follows the referee's transcript, computes the same state, and answers from
//! a run that it can repeat. Its answers are functions of that state, so a provider that was killed says the
//! same again and contradicts nothing.

use std::io::Read;
use std::time::Duration;

use repops_provenance::dispute::simulate::{Kind, Scenario, Stage};
use repops_provenance::dispute::{Message, Party, Player, Referee, Transcript};
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use repops_provenance::{Info, Key, Receipt};
use serde_json::{Value, json};

use crate::arguments::{DisputeOpen, ProviderServe};
use crate::engine::{self, Engine};
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result, dispute, inputs, keys};

/// Larger answers of a referee are refused.
const REPLY_BYTES_MAX: u64 = 64 << 20;

/// A referee somewhere.
struct Remote {
    url: String,
    agent: ureq::Agent,
}

impl Remote {
    fn new(url: &str) -> Remote {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .build();
        Remote { url: url.trim_end_matches('/').to_string(), agent: config.into() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.read(path, self.agent.get(self.at(path)).call())
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        self.read(path, self.agent.post(self.at(path)).send(body))
    }

    fn read(
        &self,
        path: &str,
        response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>> {
        let failed = |problem: String| Failure(format!("{}: {problem}", self.at(path)));
        let response = response.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let mut bytes = Vec::new();
        let reader = response.into_body().into_reader().take(REPLY_BYTES_MAX);
        { reader }.read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(failed(format!("{status}: {}", String::from_utf8_lossy(&bytes).trim())))
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
    let remote = Remote::new(&arguments.referee);
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
    note(&format!("dispute {id}: {}", remote.at(&format!("disputes/{id}/page"))));
    loop {
        // A referee that is away comes back.
        if let Ok(Value::Object(found)) = remote.json(&format!("disputes/{id}"))
            && !found.get("verdict").is_none_or(Value::is_null)
        {
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
    let tensors = inputs::read(&arguments.inputs, &program)?;
    let engine = Engine::new(&arguments.engine)?;
    engine.check_constants(&program)?;
    let stage = Stage::new(&program, &tensors, &engine, repops_kernels::bytes_digest)?;
    let (mut player, claim) = match &arguments.fault {
        None => stage.honest(),
        Some(fault) => {
            let step = match fault.as_str() {
                "random" => None,
                number => Some(number.parse().map_err(|_| Failure(format!("--fault {number}: a number")))?),
            };
            note("this provider is faulty, as it was told to be");
            let scenario = Scenario { kind: Kind::Output, step, seed: arguments.seed, liar: Party::Second };
            stage.liar(&scenario)?
        }
    };
    let receipt = claim.sign(&key, Info::default());
    match std::fs::read(&arguments.claim) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = receipt.to_json();
            repops_io::atomic::write(&arguments.claim, |out| out.write_all(text.as_bytes()))?;
        }
        Err(error) => return Err(Failure(format!("{}: {error}", arguments.claim.display()))),
        Ok(text) => {
            let claimed = Receipt::parse(&text)?;
            if claimed.digest() != receipt.digest() {
                return Err(Failure::new(
                    "this run does not give what the claim says, or another key signed it",
                ));
            }
        }
    }
    note(&format!("answering for {} as {}", receipt.digest(), receipt.signer));
    let remote = Remote::new(&arguments.referee);
    loop {
        match answer_all(&remote, &receipt, &key, &mut player) {
            Ok(true) if arguments.until_over => return Ok(Answer::Yes),
            Ok(_) => {}
            Err(Failure(problem)) => note(&problem),
        }
        std::thread::sleep(Duration::from_millis(arguments.poll_ms));
    }
}

/// Answers what is owed; whether there are disputes about the receipt and all are over.
fn answer_all(remote: &Remote, receipt: &Receipt, key: &Key, player: &mut Player<'_>) -> Result<bool> {
    let listed = remote.json("disputes")?;
    let own = receipt.signer.to_string();
    let (mut about, mut over) = (0, 0);
    for entry in listed.as_array().into_iter().flatten() {
        let is_own = entry["keys"].as_array().is_some_and(|keys| keys.iter().any(|k| k == own.as_str()));
        let Some(id) = entry["id"].as_str().filter(|_| is_own) else { continue };
        about += 1;
        if entry["over"] == true {
            over += 1;
            continue;
        }
        let referee = Transcript::decode(&remote.get(&format!("disputes/{id}/transcript"))?)?.replay()?;
        answer(remote, id, &referee, receipt, key, player)?;
    }
    Ok(about > 0 && about == over)
}

fn answer(
    remote: &Remote,
    id: &str,
    referee: &Referee,
    receipt: &Receipt,
    key: &Key,
    player: &mut Player<'_>,
) -> Result<()> {
    let party =
        Party::BOTH.into_iter().find(|p| referee.receipts()[*p as usize].digest() == receipt.digest());
    let Some(party) = party.filter(|party| referee.owes(*party)) else { return Ok(()) };
    let body = player.answer(referee, party)?;
    let message = Message::sign(referee.id(), referee.round(), party, &body, key).encode();
    remote.post(&format!("disputes/{id}/messages"), &message)?;
    Ok(())
}
