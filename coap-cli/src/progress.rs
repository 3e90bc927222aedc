//! A bar on standard error for transfers that take their time: only on a terminal.

use core::fmt;
use core::time::Duration;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use coap_driver::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// What is over by then needs no bar.
const SOON: Duration = Duration::from_millis(400);

/// How often in a second it is drawn, at most.
const REFRESH: u8 = 10;

/// The bar of one request: its content first, then that of the response.
#[derive(Clone)]
pub(crate) struct Bar(Option<Arc<Mutex<Shown>>>);

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bar").field(&self.0.is_some()).finish()
    }
}

struct Shown {
    start: Instant,
    bar: Option<ProgressBar>,
    direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Bar {
    /// None: nothing is ever drawn.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// One that appears when the transfer has taken a while, if standard error is a terminal.
    pub(crate) fn on_terminal() -> Self {
        if !io::stderr().is_terminal() {
            return Self::none();
        }
        Self(Some(Arc::new(Mutex::new(Shown { start: Instant::now(), bar: None, direction: Direction::Up }))))
    }

    /// What moves it.
    pub(crate) fn mover(&self) -> Option<impl FnMut(Progress) + Send + 'static> {
        let shown = self.0.clone()?;
        Some(move |progress: Progress| lock(&shown).show(progress))
    }

    /// Takes it away, for good or until the next move: something is about to be written.
    pub(crate) fn clear(&self) {
        if let Some(shown) = &self.0 {
            let mut shown = lock(shown);
            shown.start = Instant::now();
            if let Some(bar) = shown.bar.take() {
                bar.finish_and_clear();
            }
        }
    }
}

/// A bar that could not be drawn is still a bar.
fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shown {
    fn show(&mut self, progress: Progress) {
        if self.start.elapsed() < SOON {
            return;
        }
        let (direction, done, of) = stretch(progress);
        if self.direction != direction || self.bar.is_none() {
            if let Some(old) = self.bar.take() {
                old.finish_and_clear();
            }
            let target = ProgressDrawTarget::stderr_with_hz(REFRESH);
            let bar = ProgressBar::with_draw_target(of, target).with_finish(ProgressFinish::AndClear);
            bar.set_style(style(direction, of.is_some()));
            bar.set_position(done);
            // The speed is that of what comes from now on: a download that goes on does not begin at 0.
            bar.reset_eta();
            self.direction = direction;
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

/// Which of the two bodies moves, and how far it is. The response moves only when the request is there.
fn stretch(progress: Progress) -> (Direction, u64, Option<u64>) {
    if progress.received > 0 {
        (Direction::Down, progress.received, progress.received_of)
    } else {
        (Direction::Up, progress.sent, progress.sent_of)
    }
}

fn style(direction: Direction, has_end: bool) -> ProgressStyle {
    let template = template(direction, has_end);
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

const fn template(direction: Direction, has_end: bool) -> &'static str {
    match (direction, has_end) {
        (Direction::Up, true) => {
            "sending   {bar:30} {percent:>3} % {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
        }
        (Direction::Down, true) => {
            "receiving {bar:30} {percent:>3} % {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
        }
        (Direction::Up, false) => "sending   {bytes}, {bytes_per_sec}",
        (Direction::Down, false) => "receiving {bytes}, {bytes_per_sec}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_templates_are_right() {
        for direction in [Direction::Up, Direction::Down] {
            for has_end in [true, false] {
                assert!(ProgressStyle::with_template(template(direction, has_end)).is_ok());
            }
        }
    }
}
