//! Plays a dispute over a program by the reference, and writes its transcript: how `tests/transcripts` was made.
//!
//!     transcripts P.rep OUT.game SEED            a run; every input is small integers or noise, of 16 where a size is open
//!     transcripts P.rep OUT.game SEED 3,1,4 2    a generation: tokens of the prompt, and how many more
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::Arc;

use repops::digest::bytes_digest;
use repops::program::BlockId;
use repops::reference::Reference;
use repops::sequence::Sequence;
use repops::sequence::reference::run;
use repops::sequence::sampling::{Draw, Plain, Sampling, choose};
use repops::{DType, Digest, Program, Tensor};
use repops_provenance::dispute::simulate::{Dice, GenerationStage, Kind, Outcome, Scenario, Stage};
use repops_provenance::dispute::{Keep, Party};
use repops_provenance::generation::GenerationClaim;

/// Of an input's open sizes each; the first axis of several is a batch.
const OPEN: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, out, seed, rest @ ..] = arguments.as_slice() else { return Err("P.rep OUT.game SEED".into()) };
    let program = Program::decode(Arc::new(std::fs::read(path)?))?;
    let scenario = Scenario { kind: Kind::Output, step: None, seed: seed.parse()?, liar: Party::Second };
    let outcome = match rest {
        [] => {
            let inputs = inputs(&program, &mut Dice(1))?;
            Stage::new(&program, &inputs, &Reference, bytes_digest)?.play(&scenario)?
        }
        [prompt, count] => {
            let prompt = prompt.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            generation(&program, &prompt, count.parse()?, &scenario)?
        }
        _ => return Err("tokens of a prompt, and how many more".into()),
    };
    let place = outcome.recorded.referee.place();
    println!("{:?} at {:?}", outcome.verdict, place.map(|place| (place.index, place.step.def().name)));
    println!("{} rounds of {:?}, {} bytes", outcome.rounds, outcome.size, outcome.bytes);
    std::fs::write(out, outcome.transcript.encode())?;
    Ok(())
}

fn inputs(program: &Program, dice: &mut Dice) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let mut found = Vec::new();
    for ty in &program.block(BlockId(0)).params {
        let ty = ty.as_ref().ok_or("an input without a type")?;
        let open = |at: usize| if at == 0 && ty.shape.len() > 1 { 1 } else { OPEN };
        let extents = ty.shape.iter().enumerate().map(|(at, d)| d.as_extent().unwrap_or(open(at)));
        let shape: Vec<usize> = extents.collect();
        let count = shape.iter().product();
        found.push(match ty.dtype {
            DType::I64 => Tensor::from_slice(&shape, &vec![1i64; count]),
            DType::F32 => {
                let values: Vec<f32> = (0..count).map(|_| dice.below(1 << 20) as f32).collect();
                Tensor::from_slice(&shape, &values)
            }
            other => return Err(format!("an input of type {other:?}").into()),
        });
    }
    Ok(found)
}

fn generation(
    program: &Program,
    prompt: &[u32],
    count: usize,
    scenario: &Scenario,
) -> Result<Outcome, Box<dyn Error>> {
    let sequence = Sequence::of(program)?;
    let (sampling, mut all) = (Sampling::default(), prompt.to_vec());
    for _ in 0..count {
        let rows = run(program, &sequence, &all, all.len() - 1)?;
        let logits = rows.logits.as_slice::<f32>();
        let draw = Draw { seed: 0, nonce: 0, position: all.len() as u32 - 1 };
        all.push(choose(logits, &sampling, &all, prompt.len(), draw, &Plain)?);
    }
    let claim = GenerationClaim {
        program: program.digest(),
        prompt: prompt.to_vec(),
        tokens: all[prompt.len()..].to_vec(),
        sampling,
        seed: 0,
        nonce: 0,
        logprobs: Digest::default(),
        trace_root: None,
    };
    let stage = GenerationStage::regenerate(program, claim, &Reference, bytes_digest, Keep::Nothing)?;
    Ok(stage.play(scenario)?)
}
