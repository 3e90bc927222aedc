//! The library behind a wall: what it asserts in vain, while it works on what a peer has sent, ends one session and no other.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use dimpl::Dtls;

/// One session of the library. After a panic in it there is none any more: what it has left behind is not used again.
pub(super) struct Guarded(Option<Box<Dtls>>);

/// The library has panicked, in this call or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

impl Guarded {
    pub(super) fn new(dtls: Dtls) -> Self {
        Self(Some(Box::new(dtls)))
    }

    /// The library is not needed any more.
    pub(super) fn leave(&mut self) {
        self.0 = None;
    }

    /// Each call into the library goes through here.
    ///
    /// Nothing that a panic can leave half done is seen afterwards: the session of the library is dropped; what it shares with
    /// others are configurations, which do not change, and what it asks of us (`provider.rs`), which is put back. In a program
    /// with `panic = "abort"` nothing is caught.
    pub(super) fn call<T>(&mut self, work: impl FnOnce(&mut Dtls) -> T) -> Result<T, Panicked> {
        let dtls = self.0.as_mut().ok_or(Panicked)?;
        match catch_unwind(AssertUnwindSafe(|| work(dtls))) {
            Ok(done) => Ok(done),
            Err(_) => {
                let broken = self.0.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
                Err(Panicked)
            }
        }
    }
}
