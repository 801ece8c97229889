//! `repops audit`: random steps of a claimed run or generation, computed again from what its provider opens.
//!
//! Invariant: the steps are chosen here, after the claim was signed; what the provider sends is believed only as far as
//! the claim's digests bind it.

use std::collections::BTreeSet;

use repops::sequence::sampling::Plain;
use repops_provenance::dispute::Claimed;
use repops_provenance::dispute::audit::{Finding, Opening, check};
use repops_provenance::dispute::audit_rows::{self, Place, Places};
use repops_provenance::dispute::simulate::Dice;
use repops_provenance::receipt::RECEIPT_BYTES_MAX;
use serde_json::json;

use crate::arguments::Audit;
use crate::engine::{self, Engine};
use crate::party::Remote;
use crate::report::{print, print_json};
use crate::{Answer, Failure, Result};

/// A refusal of the provider is tried again so often.
const ATTEMPTS: u32 = 3;

pub fn audit(arguments: &Audit) -> Result<Answer> {
    let text = std::fs::read(&arguments.claim)
        .map_err(|error| Failure(format!("{}: {error}", arguments.claim.display())))?;
    if text.len() > RECEIPT_BYTES_MAX {
        return Err(Failure(format!("{}: it is too large", arguments.claim.display())));
    }
    let receipt = Claimed::parse(&text)?;
    receipt.validate()?;
    let (_, records) = receipt.trace().ok_or_else(|| Failure::new("the receipt claims no trace"))?;
    let program = engine::load(&arguments.program)?;
    if program.digest() != receipt.program() {
        return Err(Failure(format!("the receipt is about program {}", receipt.program())));
    }
    let places = receipt.generation().map(|claim| {
        let places = Places::of(&program, claim);
        places.ok_or_else(|| Failure::new("the program is no sequence program"))
    });
    let places = places.transpose()?;
    let steps = places.as_ref().map_or(records, Places::count);
    let engine = Engine::new(&arguments.engine)?;
    engine.check_constants(&program)?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => {
            // A new key is as random as the operating system makes it.
            let key = repops_provenance::Key::generate()?.public().to_string();
            u64::from_str_radix(&key[..16], 16).map_err(|e| Failure(e.to_string()))?
        }
    };
    let count = arguments.sample.of(steps);
    let mut chosen = chosen(steps, count, seed);
    // The end of a run, and what the claim says of outputs, cost next to nothing; a generation's tokens are its places.
    let ends = u64::from(places.is_none());
    if ends == 1 {
        chosen.insert(steps);
    }
    let remote = Remote::new(&arguments.provider)?;
    let (mut right, mut unknown, mut wrong, mut bytes) = (0u64, Vec::new(), Vec::new(), 0u64);
    for index in &chosen {
        let opened = (0..ATTEMPTS).find_map(|_| remote.get(&format!("openings/{index}")).ok());
        let Some(opened) = opened else {
            wrong.push((*index, "it was not opened".to_string()));
            continue;
        };
        bytes += opened.len() as u64;
        let opening = Opening::decode(&opened).ok().filter(|opening| opening.index == *index);
        let Some(opening) = opening else {
            wrong.push((*index, "what was opened cannot be read".to_string()));
            continue;
        };
        let hash = repops_kernels::bytes_digest;
        let found = match &receipt {
            Claimed::Run(receipt) => check(&program, &receipt.claim, &opening, &engine, hash),
            Claimed::Generation(receipt) => {
                audit_rows::check(&program, &receipt.claim, &opening, &engine, &Plain, hash)
            }
        };
        match found {
            Finding::Right => right += 1,
            Finding::Wrong(reason) => wrong.push((*index, reason.to_string())),
            Finding::Unknown(why) => unknown.push((*index, why)),
        }
    }
    let sampled = right + (unknown.len() + wrong.len()) as u64 - ends;
    let chances = chances(steps, sampled.saturating_sub(unknown.len() as u64));
    if arguments.json {
        let list = |list: &[(u64, String)]| {
            list.iter().map(|(record, why)| json!({ "record": record, "why": why })).collect::<Vec<_>>()
        };
        print_json(&json!({
            "steps": steps, "sampled": sampled, "seed": seed, "bytes": bytes,
            "wrong": list(&wrong), "not_checked": list(&unknown),
            "chance": chances.iter().map(|(q, p)| json!({ "changed": q, "caught": p })).collect::<Vec<_>>(),
        }));
    } else {
        let verdict = if wrong.is_empty() { "nothing is wrong" } else { "it is wrong" };
        let end = if ends == 1 { " and the end" } else { "" };
        print(&format!("{verdict}: {sampled} of {steps} steps{end}, {bytes} bytes, seed {seed}"));
        let named = |index: u64| match places.as_ref().map(|places| places.at(index)) {
            Some(Some(Place::Step { position, step })) => {
                let nodes = &program.main().steps[step as usize].origins;
                let nodes: Vec<&str> = nodes.iter().map(|origin| origin.name.as_str()).collect();
                format!("position {position}, step {step} ({})", nodes.join(", "))
            }
            Some(Some(Place::Choice { position })) => format!("the token after position {position}"),
            _ if index == steps => "the end".to_string(),
            _ => format!("record {index}"),
        };
        for (index, why) in &wrong {
            print(&format!("  {}: {why}", named(*index)));
        }
        for (index, why) in &unknown {
            print(&format!("  {} was not checked: {why}", named(*index)));
        }
        for (changed, chance) in chances {
            print(&format!("a cheat that changed {changed:6} steps is caught with probability {chance:.4}"));
        }
    }
    Ok(if wrong.is_empty() { Answer::Yes } else { Answer::No })
}

/// So many different numbers below `steps`, each set of them as likely as any other.
fn chosen(steps: u64, count: u64, seed: u64) -> BTreeSet<u64> {
    let mut dice = Dice(seed);
    let mut found = BTreeSet::new();
    // R. W. Floyd's way: as many throws as numbers.
    for top in steps - count..steps {
        let throw = dice.below(top + 1);
        if !found.insert(throw) {
            found.insert(top);
        }
    }
    found
}

/// The probability that `sampled` of `steps` hold one of `q` that were changed, for some `q`: 1 - C(steps - q, sampled) / C(steps,
/// sampled).
#[expect(clippy::float_arithmetic, reason = "a probability, for people")]
fn chances(steps: u64, sampled: u64) -> Vec<(u64, f64)> {
    let chance = |changed: u64| {
        let missed = (0..changed).map(|j| {
            let (free, all) = ((steps - sampled).saturating_sub(j), steps - j);
            free as f64 / all as f64
        });
        1.0 - missed.fold(1.0, |all, one| all * one)
    };
    let numbers = [1, 2, 5, 10, 20, 50, 100, 1000];
    numbers.into_iter().filter(|q| *q <= steps).map(|q| (q, chance(q))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_sets_and_chances_follow() {
        for (steps, count) in [(1, 1), (10, 3), (10, 10), (100, 0)] {
            let found = chosen(steps, count, 7);
            assert_eq!(found.len() as u64, count);
            assert!(found.iter().all(|index| *index < steps));
        }
        assert_eq!(chances(4, 4), [(1, 1.0), (2, 1.0)]);
        assert_eq!(chances(4, 2)[0], (1, 0.5));
        assert_eq!(chances(10, 0), [(1, 0.0), (2, 0.0), (5, 0.0), (10, 0.0)]);
    }
}
