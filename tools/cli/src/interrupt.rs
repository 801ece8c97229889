//! Ctrl-C and progress: what watches a run on the user's behalf.
//!
//! Invariant: an interrupted run ends between two steps, and nothing of it is written.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use repops::exec::{Limits, Observer, StepEvent, node_name};
use repops::program::Program;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes the first Ctrl-C end the run cleanly and the second one end the process. Called before anything
/// is made that would be left behind.
pub fn watch_for_interrupts() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // Where no handler can be installed, Ctrl-C ends the process as it always does.
        let _ = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(2);
            }
        });
    });
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sees a run: a bar on terminals, and whether Ctrl-C was pressed.
pub struct Watcher {
    bar: ProgressBar,
    limits: Limits,
}

impl Watcher {
    /// `what` is shown before the bar.
    pub fn new(program: &Program, what: &'static str) -> Watcher {
        watch_for_interrupts();
        let bar = if std::io::stderr().is_terminal() {
            let steps = program.main().steps.len() as u64;
            ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Watcher { bar, limits: Limits::default() }
    }

    /// The same, of a run that must stay within limits.
    pub fn within(mut self, limits: Limits) -> Watcher {
        self.limits = limits;
        self
    }

    /// Shows nothing.
    pub fn silent() -> Watcher {
        watch_for_interrupts();
        Watcher { bar: ProgressBar::hidden(), limits: Limits::default() }
    }
}

impl Observer for Watcher {
    fn step(&mut self, event: StepEvent<'_>) {
        // Steps of inner blocks belong to one of the main block.
        if event.path.len() == 1 && !self.bar.is_hidden() {
            self.bar.set_message(node_name(event.step));
            self.bar.inc(1);
        }
    }

    fn looks(&self) -> bool {
        false
    }
    fn limits(&self) -> Limits {
        self.limits
    }

    fn interrupted(&mut self) -> bool {
        interrupted()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
