//! Times of steps, taken by watching runs.
//!
//! A step lasts from the moment the executor asks whether to go on until it shows the step's outputs; with
//! hashing on one thread that includes hashing them, on several threads hashing goes on beside it. What is
//! left of a run (binding, records, waiting for hashes, copying outputs) is `outside`. Steps of inner blocks
//! count by themselves, all iterations together; a control-flow step's own row is what it does after them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use repops::TensorView;
use repops::exec::{Evaluation, Observer, StepEvent, node_name};
use repops::ops::SymType;
use repops::tensor::byte_len;
use serde_json::{Value, json};

use super::milliseconds;
use crate::interrupt::Watcher;
use crate::report::table;

/// Block and step of each level, from the main block inwards.
type Place = Vec<(u32, u32)>;

pub struct Profile {
    rows: BTreeMap<Place, Row>,
    outside: Vec<Duration>,
    watcher: Watcher,
    /// When the step that runs now began.
    start: Instant,
}

#[derive(Clone, Copy, Default)]
struct Count {
    time: Duration,
    calls: u64,
    bytes: u64,
}

struct Row {
    operator: &'static str,
    node: String,
    /// The types of its outputs when it ran first.
    outputs: Vec<String>,
    evaluations: BTreeSet<&'static str>,
    /// In the run that goes on.
    now: Count,
    /// In the last run that was closed.
    last: Count,
    times: Vec<Duration>,
}

impl Row {
    fn new(event: &StepEvent<'_>) -> Row {
        Row {
            operator: event.step.def().name,
            node: node_name(event.step),
            outputs: event.outputs.iter().map(|o| SymType::of(o.dtype, o.shape).to_string()).collect(),
            evaluations: BTreeSet::new(),
            now: Count::default(),
            last: Count::default(),
            times: Vec::new(),
        }
    }

    fn is_reference(&self) -> bool {
        self.evaluations.contains(Evaluation::Reference.name())
    }

    fn evaluation(&self) -> String {
        let names: Vec<&str> = self.evaluations.iter().copied().collect();
        if self.is_reference() { names.join(",").to_uppercase() } else { names.join(",") }
    }
}

impl Profile {
    pub fn new() -> Profile {
        let watcher = Watcher::silent();
        Profile { rows: BTreeMap::new(), outside: Vec::new(), watcher, start: Instant::now() }
    }

    /// Closes a run that took this long.
    pub fn end_run(&mut self, elapsed: Duration) {
        let mut outside = elapsed;
        for row in self.rows.values_mut() {
            row.last = std::mem::take(&mut row.now);
            row.times.push(row.last.time);
            outside = outside.saturating_sub(row.last.time);
        }
        self.outside.push(outside);
    }

    /// Bytes of all values that the run so far has computed; views share theirs.
    pub fn computed_bytes(&self) -> u64 {
        self.rows.values().map(|row| row.now.bytes).sum()
    }

    /// The time of a run that is in no step.
    pub fn outside(&self) -> Duration {
        median(&self.outside)
    }

    /// In program order.
    pub fn to_json(&self) -> Value {
        let total = self.total();
        let row = |(place, row): (&Place, &Row)| {
            let time = median(&row.times);
            json!({
                "step": place_text(place),
                "operator": row.operator,
                "outputs": row.outputs,
                "kernel": row.evaluations,
                "node": row.node,
                "calls": row.last.calls,
                "bytes": row.last.bytes,
                "median_ms": milliseconds(time),
                "share": share(time, total),
            })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    /// Steps by time, then operators by time, then what has no kernel.
    pub fn to_text(&self) -> String {
        let total = self.total();
        let timed = |time: Duration| {
            [format!("{:.3}", milliseconds(time)), format!("{:.1} %", 100.0 * share(time, total))]
        };
        let mut steps: Vec<(&Place, &Row, Duration)> =
            self.rows.iter().map(|(place, row)| (place, row, median(&row.times))).collect();
        steps.sort_by_key(|(_, _, time)| std::cmp::Reverse(*time));
        let mut rows = vec![head(&["ms", "share", "step", "operator", "outputs", "kernel", "ONNX node"])];
        let mut operators: BTreeMap<(&str, String), (u64, Duration)> = BTreeMap::new();
        let mut slow = (0, Duration::ZERO, BTreeSet::new());
        for (place, row, time) in steps {
            let kernel = row.evaluation();
            let described =
                [place_text(place), row.operator.to_string(), row.outputs.join(" "), kernel.clone()];
            rows.push(timed(time).into_iter().chain(described).chain([row.node.clone()]).collect());
            let entry = operators.entry((row.operator, kernel)).or_default();
            *entry = (entry.0 + row.last.calls, entry.1 + time);
            if row.is_reference() {
                slow.0 += 1;
                slow.1 += time;
                slow.2.insert(row.operator);
            }
        }
        rows.push(timed(self.outside()).into_iter().chain(["outside of steps".to_string()]).collect());
        let mut operators: Vec<_> = operators.into_iter().collect();
        operators.sort_by_key(|(_, (_, time))| std::cmp::Reverse(*time));
        let mut totals = vec![head(&["ms", "share", "calls", "operator", "kernel"])];
        for ((operator, kernel), (calls, time)) in operators {
            totals.push(
                timed(time).into_iter().chain([calls.to_string(), operator.to_string(), kernel]).collect(),
            );
        }
        let mut out = format!("{}\n\n{}", table(&rows), table(&totals));
        if slow.0 > 0 {
            let names: Vec<&str> = slow.2.into_iter().collect();
            let percent = 100.0 * share(slow.1, total);
            out += &format!(
                "\n\nNO KERNEL: {} steps ran the slow REFERENCE, {percent:.1} % of the time: {}",
                slow.0,
                names.join(", ")
            );
        }
        out
    }

    /// The medians' sum, against which shares are stated.
    fn total(&self) -> Duration {
        self.rows.values().map(|row| median(&row.times)).sum::<Duration>() + self.outside()
    }
}

impl Observer for Profile {
    fn step(&mut self, event: StepEvent<'_>) {
        let elapsed = self.start.elapsed();
        let place: Place = event.path.iter().map(|frame| (frame.block, frame.step)).collect();
        let row = self.rows.entry(place).or_insert_with(|| Row::new(&event));
        let bytes =
            |output: &TensorView<'_>| byte_len(output.dtype, output.shape).map_or(0, |len| len as u64);
        row.now.time += elapsed;
        row.now.calls += 1;
        row.evaluations.extend(event.evaluation.map(Evaluation::name));
        if event.evaluation != Some(Evaluation::View) {
            row.now.bytes += event.outputs.iter().map(bytes).sum::<u64>();
        }
        self.start = Instant::now();
    }

    fn looks(&self) -> bool {
        false
    }

    fn interrupted(&mut self) -> bool {
        self.start = Instant::now();
        self.watcher.interrupted()
    }
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// `3`; in inner blocks every level, `3/1:0` for step 0 of block 1 inside of step 3.
fn place_text(place: &Place) -> String {
    let level =
        |&(block, step): &(u32, u32)| if block == 0 { step.to_string() } else { format!("{block}:{step}") };
    place.iter().map(level).collect::<Vec<_>>().join("/")
}

fn share(time: Duration, total: Duration) -> f64 {
    if total.is_zero() { 0.0 } else { time.as_secs_f64() / total.as_secs_f64() }
}

/// The upper median; of no times, nothing.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_places() {
        assert_eq!(median(&[]), Duration::ZERO);
        assert_eq!(median(&[3, 9, 1].map(Duration::from_secs)), Duration::from_secs(3));
        assert_eq!(place_text(&vec![(0, 3), (1, 0)]), "3/1:0");
        assert_eq!(share(Duration::from_secs(1), Duration::from_secs(4)), 0.25);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 0.0);
    }
}
