//! Resources that change by themselves, and are observed (RFC 7641).

use core::future::ready;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coap_core::{Code, ContentFormat};
use coap_driver::router::{Answer, MethodRouter, Payload, Resource, State, get};
use tokio::time::MissedTickBehavior;

use super::{Plugtest, Shared, answer, format_or_bytes, text};
use crate::clock::{since_1970, time_of_day};

/// How often they change.
const EVERY: Duration = Duration::from_secs(5);

/// RFC 7252 §5.10.5: what they say is good until they change, in seconds.
const MAX_AGE: u32 = EVERY.as_secs() as u32;

/// Of Non-confirmable notifications, each so-manyth is Confirmable, to see whether the observer is still there.
const CONFIRM_EVERY: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Plain,
    NonConfirmable,
    Large,
    Pumping,
    PumpingNonConfirmable,
}

impl Place {
    pub(super) const ALL: [Self; 5] =
        [Self::Plain, Self::NonConfirmable, Self::Large, Self::Pumping, Self::PumpingNonConfirmable];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Plain => "/obs",
            Self::NonConfirmable => "/obs-non",
            Self::Large => "/obs-large",
            Self::Pumping => "/obs-pumping",
            Self::PumpingNonConfirmable => "/obs-pumping-non",
        }
    }

    const fn is_non_confirmable(self) -> bool {
        matches!(self, Self::NonConfirmable | Self::PumpingNonConfirmable)
    }

    const fn takes_content(self) -> bool {
        matches!(self, Self::Plain | Self::NonConfirmable)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Observed {
    resources: [Resource; Place::ALL.len()],
    now: Mutex<Now>,
}

/// What they say until they change.
#[derive(Debug)]
struct Now {
    /// `HH:MM:SS`.
    time: String,
    /// The pumping ones have several blocks, and not one.
    is_large: bool,
    put: [Option<Put>; Place::ALL.len()],
}

/// What somebody has put.
#[derive(Clone, Debug)]
struct Put {
    format: ContentFormat,
    content: Bytes,
    /// It has not been seen for five seconds yet: the next change is left out.
    is_new: bool,
}

impl Observed {
    pub(super) fn new() -> Self {
        let resources = Place::ALL.map(|place| {
            if place.is_non_confirmable() { Resource::new().non_confirmable(CONFIRM_EVERY) } else { Resource::new() }
        });
        let now = Now { time: time(), is_large: false, put: Default::default() };
        Self { resources, now: Mutex::new(now) }
    }

    /// Changes them, every five seconds, for ever.
    pub(super) async fn tick(&self) {
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once.
        clock.tick().await;
        loop {
            clock.tick().await;
            self.lock().change(time());
            self.resources.iter().for_each(Resource::changed);
        }
    }

    /// Forgets all observers.
    fn forget_observers(&self) {
        self.resources.iter().for_each(Resource::forget_observers);
    }

    fn resource(&self, place: Place) -> &Resource {
        let [plain, non_confirmable, large, pumping, pumping_non_confirmable] = &self.resources;
        match place {
            Place::Plain => plain,
            Place::NonConfirmable => non_confirmable,
            Place::Large => large,
            Place::Pumping => pumping,
            Place::PumpingNonConfirmable => pumping_non_confirmable,
        }
    }

    fn read(&self, place: Place) -> Answer {
        let (format, content) = self.lock().state(place);
        answer(Code::CONTENT, |options| options.set_max_age(MAX_AGE)).with_content(format, content)
    }

    /// Those who observe it in another format are told 4.06 by the server (RFC 7641 §4.2).
    fn write(&self, place: Place, format: ContentFormat, content: Bytes) {
        self.lock().set(place, Some(Put { format, content, is_new: true }));
        self.resource(place).changed();
    }

    /// Those who observe it are told that it is gone. It begins anew at once.
    fn remove(&self, place: Place) {
        self.lock().set(place, None);
        self.resource(place).removed();
    }

    /// Nothing that could panic runs under this lock, and no other lock is taken.
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn change(&mut self, time: String) {
        self.time = time;
        self.is_large = !self.is_large;
        for put in &mut self.put {
            *put = put.take().filter(|put| put.is_new).map(|put| Put { is_new: false, ..put });
        }
    }

    fn set(&mut self, place: Place, put: Option<Put>) {
        if let Some(slot) = self.put.get_mut(place as usize) {
            *slot = put;
        }
    }

    fn state(&self, place: Place) -> (ContentFormat, Bytes) {
        if let Some(Some(put)) = self.put.get(place as usize) {
            return (put.format, put.content.clone());
        }
        let is_large = match place {
            Place::Plain | Place::NonConfirmable => false,
            Place::Large => true,
            Place::Pumping | Place::PumpingNonConfirmable => self.is_large,
        };
        let content = if is_large { text::large_time(&self.time) } else { self.time.clone() };
        (ContentFormat::TEXT_PLAIN, content.into())
    }
}

fn time() -> String {
    time_of_day(since_1970())
}

// ----- Handlers ------------------------------------------------------------------------------------------------------

pub(super) fn route(place: Place, of: &Observed) -> MethodRouter<Arc<Plugtest>> {
    let route = get(move |State(plugtest): Shared| ready(plugtest.observed.read(place)));
    let route = route.observable(of.resource(place));
    if !place.takes_content() {
        return route;
    }
    let write = move |State(plugtest): Shared, format: Option<ContentFormat>, Payload(content): Payload| {
        plugtest.observed.write(place, format_or_bytes(format), content);
        ready(())
    };
    route.put(write).post(write).delete(move |State(plugtest): Shared| {
        plugtest.observed.remove(place);
        ready(())
    })
}

/// POST to `/obs-reset`.
pub(super) async fn reset(State(plugtest): Shared) {
    plugtest.observed.forget_observers();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(content: &'static str) -> Put {
        Put { format: ContentFormat::JSON, content: content.into(), is_new: true }
    }

    fn now() -> Now {
        Now { time: "12:00:00".to_owned(), is_large: false, put: Default::default() }
    }

    #[test]
    fn what_was_put_is_there_for_five_seconds_at_least() {
        let mut now = now();
        now.set(Place::Plain, Some(put("{}")));
        assert_eq!(now.state(Place::Plain), (ContentFormat::JSON, "{}".into()));
        assert_eq!(now.state(Place::NonConfirmable), (ContentFormat::TEXT_PLAIN, "12:00:00".into()));
        now.change("12:00:05".to_owned());
        assert_eq!(now.state(Place::Plain).0, ContentFormat::JSON);
        now.change("12:00:10".to_owned());
        assert_eq!(now.state(Place::Plain), (ContentFormat::TEXT_PLAIN, "12:00:10".into()));
    }

    #[test]
    fn the_pumping_ones_alternate_and_the_large_one_does_not() {
        let mut now = now();
        let lengths = |now: &Now| [Place::Large, Place::Pumping].map(|place| now.state(place).1.len());
        assert_eq!(lengths(&now), [1_280, 8]);
        now.change("12:00:05".to_owned());
        assert_eq!(lengths(&now), [1_280, 1_280]);
        now.change("12:00:10".to_owned());
        assert_eq!(lengths(&now), [1_280, 8]);
    }
}
