//! Secure sessions (RFC 7252 §9): the endpoint with its session layer where the feature `dtls` has one built in, and the plain
//! endpoint where it has not. What differs between the two is in here, and nowhere else.

#[cfg(not(feature = "dtls"))]
#[allow(clippy::needless_pass_by_ref_mut, reason = "the same functions change something where there are sessions")]
mod plain;
#[cfg(feature = "dtls")]
mod secure;

#[cfg(not(feature = "dtls"))]
pub(crate) use self::plain::{
    Credentials, Identity, Machine, Secure, identity_key, listen, longest_datagram, next_message, watch,
};
#[cfg(feature = "dtls")]
pub use self::secure::SessionInfo;
#[cfg(feature = "dtls")]
pub(crate) use self::secure::{
    Credentials, Identity, Machine, Secure, Sessions, identity_key, listen, longest_datagram, next_message, watch,
};
