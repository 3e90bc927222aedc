//! `Path<T>`: the open parts of a route, parsed.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use coap_core::{Code, Response};

use super::extract::{Captured, FromRequest, Incoming, bad_request};

/// What `{name}` and `{*name}` of the route stand for in this request.
///
/// One open part is a `Path<u32>`, several are a tuple in the order of the route: `Path<(String, u32)>`. A part that
/// does not parse is answered 4.00. `{*rest}` as a `Vec<String>` is its segments; as a `String` they are joined with
/// slashes.
///
/// ```
/// # use coap_driver::router::{Path, Router, get};
/// async fn read(Path((room, lamp)): Path<(String, u8)>) -> String {
///     format!("lamp {lamp} in {room} is on")
/// }
/// let router: Router = Router::new().route("/{room}/lamps/{lamp}", get(read));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<S, T: FromPath> FromRequest<S> for Path<T> {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        T::from_path(incoming).map(Self)
    }
}

/// What [`Path`] can hold: one value, or a tuple of up to six.
pub trait FromPath: Sized {
    /// Makes it.
    ///
    /// # Errors
    /// The response to send instead of calling the handler.
    fn from_path(incoming: &Incoming<'_>) -> Result<Self, Response>;
}

/// A value made from one open part of a path.
pub trait FromCapture: Sized {
    /// Makes it.
    ///
    /// # Errors
    /// What the part should have been, to complete the sentence "the path parameter … is not …".
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str>;
}

impl<T: FromCapture> FromPath for T {
    fn from_path(incoming: &Incoming<'_>) -> Result<Self, Response> {
        <(T,)>::from_path(incoming).map(|(value,)| value)
    }
}

fn take<T: FromCapture>(captured: Captured<'_>) -> Result<T, Response> {
    // The value itself stays out of the answer: it is the peer's text, and may be as long as the datagram.
    T::from_capture(captured)
        .map_err(|wanted| bad_request(format!("the path parameter {:?} is not {wanted}", captured.name())))
}

macro_rules! impl_from_path {
    ($count:literal: $($part:ident)+) => {
        impl<$($part: FromCapture),+> FromPath for ($($part,)+) {
            fn from_path(incoming: &Incoming<'_>) -> Result<Self, Response> {
                let mut parts = incoming.captures();
                let wrong = || Response::diagnostic(
                    Code::INTERNAL_SERVER_ERROR,
                    concat!("this handler is for a route with ", $count, " path parameters"),
                );
                if parts.len() != $count {
                    return Err(wrong());
                }
                Ok(($(take::<$part>(parts.next().ok_or_else(wrong)?)?,)+))
            }
        }
    };
}

impl_from_path!(1: A);
impl_from_path!(2: A B);
impl_from_path!(3: A B C);
impl_from_path!(4: A B C D);
impl_from_path!(5: A B C D E);
impl_from_path!(6: A B C D E F);

/// The only segment there is.
fn single(captured: Captured<'_>) -> Option<&[u8]> {
    let mut segments = captured.segments();
    segments.next().filter(|_| segments.next().is_none())
}

fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    core::str::from_utf8(bytes).map_err(|_| "UTF-8")
}

/// For `{*rest}`: the segments joined with slashes. A segment that has a slash inside is refused, since `a/b` would
/// then mean two paths: take a `Vec<String>` for those.
impl FromCapture for String {
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
        let mut joined = Self::new();
        for (index, segment) in captured.segments().enumerate() {
            if captured.is_rest() && segment.contains(&b'/') {
                return Err("free of slashes inside of a segment");
            }
            if index > 0 {
                joined.push('/');
            }
            joined.push_str(text(segment)?);
        }
        Ok(joined)
    }
}

/// The segments.
impl FromCapture for Vec<String> {
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
        captured.segments().map(|segment| text(segment).map(str::to_owned)).collect()
    }
}

/// The segment as it came, UTF-8 or not.
impl FromCapture for Vec<u8> {
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
        single(captured).map(<[u8]>::to_vec).ok_or("a single segment")
    }
}

/// The segment as it came, UTF-8 or not.
impl FromCapture for Bytes {
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
        single(captured).map(Self::copy_from_slice).ok_or("a single segment")
    }
}

macro_rules! impl_from_capture {
    ($($wanted:literal: $($kind:ty)+;)+) => {
        $($(impl FromCapture for $kind {
            fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
                let segment = single(captured).ok_or("a single segment")?;
                text(segment)?.parse().map_err(|_| $wanted)
            }
        })+)+
    };
}

impl_from_capture! {
    "an unsigned integer of its range": u8 u16 u32 u64 u128 usize;
    "an integer of its range": i8 i16 i32 i64 i128 isize;
    "a number": f32 f64;
    "true or false": bool;
    "one character": char;
    "an IP address": IpAddr Ipv4Addr Ipv6Addr;
}
