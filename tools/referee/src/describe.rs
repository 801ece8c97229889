//! What a dispute came to, or has come to so far, as JSON: for the referee's answers, pages, and the command line.

use repops::ops::dispute::Term;
use repops_provenance::dispute::simulate::part_of;
use repops_provenance::dispute::{Loser, Party, Referee};
use serde_json::{Value, json};

/// Everything that a dispute came to, or has come to so far.
pub fn describe(referee: &Referee) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    let verdict = referee.verdict();
    object.insert("verdict".into(), json!(verdict.map(|v| v.reason.to_string())));
    object.insert("reason".into(), json!(verdict.map(|v| v.reason.word())));
    object.insert("loser".into(), json!(verdict.map(|v| v.loser.to_string())));
    let signer = |party: Party| referee.receipts()[party as usize].signer().to_string();
    let key = verdict.and_then(|v| match v.loser {
        Loser::First => Some(signer(Party::First)),
        Loser::Second => Some(signer(Party::Second)),
        Loser::Both | Loser::Neither => None,
    });
    object.insert("loser_key".into(), json!(key));
    if let Some(place) = referee.place() {
        object.insert("step".into(), json!(place.index));
        if let Some(row) = &place.row {
            object.insert("position".into(), json!(row.position));
        }
        object.insert("op".into(), json!(place.step.def().name));
        let nodes: Vec<&str> = place.step.origins.iter().map(|o| o.name.as_str()).collect();
        object.insert("node".into(), json!(nodes.join(", ")));
    }
    if let Some((top, term, values)) = referee.element() {
        let is_token = referee.place().and_then(|place| place.row.as_ref()).is_some_and(|row| row.is_choice);
        if is_token {
            object
                .insert("token".into(), json!(referee.sequence().and_then(|s| s.token).map(|token| token.1)));
        } else if let Term::Output { output, element } = top {
            object.insert("output".into(), json!(output));
            object.insert("element".into(), json!(element));
        }
        let (chunk, terms) = part_of(term);
        object.insert("chunk".into(), json!(chunk));
        object.insert("terms_from".into(), json!(terms));
        object.insert("term".into(), json!(format!("{term:?}")));
        object.insert("claimed".into(), json!(values.map(|v| format!("{v:#x}"))));
    }
    object
}
