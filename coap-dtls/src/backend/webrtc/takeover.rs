//! The task of one handshake, and what is taken over from the library when it is done: the secret, and who the peer is.

use core::time::Duration;
use std::sync::Arc;

use coap_core::SessionEnd;
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;
use webrtc_dtls::Error;
use webrtc_dtls::config::Config;
use webrtc_dtls::conn::DTLSConn;
use zeroize::Zeroizing;

use super::path::{LibraryEnd, Path};
use crate::identity::PeerIdentity;
use crate::keys::KeyBlock;
use crate::verify::Role;

/// Where the secrets are told.
pub(super) type KeyLog = Arc<dyn Fn(&str) + Send + Sync>;

/// What a session goes on with, without the library.
#[derive(Debug)]
pub(super) struct Takeover {
    pub(super) keys: KeyBlock,
    pub(super) identity: PeerIdentity,
    /// The number of our next record.
    pub(super) next: u64,
    /// The last flight, if it is ours.
    pub(super) last_flight: Vec<u8>,
}

/// How the peer is to show who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A server with a pre-shared key is known by the identity for which the client has the key.
    Known(Vec<u8>),
    /// A client with a pre-shared key names itself.
    Psk,
    /// It must show certificates.
    Certificate,
    /// It may show certificates.
    Optional,
    /// It is not asked who it is.
    Nothing,
}

/// Runs a handshake to its end, and says on `path` how it ended. Ends early, without a word to the peer, if it is dropped.
pub(super) fn run(
    path: Arc<Path>,
    config: Config,
    role: Role,
    expected: Expected,
    deadline: Duration,
    key_log: Option<KeyLog>,
) -> impl Future<Output = ()> {
    // Not first in the task: that may be dropped before it has run at all.
    let unsettled = Unsettled(path);
    async move {
        let path = &unsettled.0;
        let end = Arc::new(LibraryEnd(path.clone()));
        let done = timeout(deadline, DTLSConn::new(end, config, role == Role::Client, None)).await;
        let outcome = match done {
            Err(_) => Err(SessionEnd::HandshakeTimeout),
            Ok(Err(error)) => Err(path.witness(|witness| witness.refused).unwrap_or_else(|| end_of(&error, path))),
            // The connection is dropped, and both of its tasks end.
            Ok(Ok(connection)) => take_over(&connection, path, role, expected, key_log).await,
        };
        path.settle(outcome);
    }
}

/// A handshake whose task has not come to an end.
struct Unsettled(Arc<Path>);

impl Drop for Unsettled {
    /// If nothing has been said, the task has panicked, or the runtime is being shut down.
    fn drop(&mut self) {
        let why = if std::thread::panicking() { SessionEnd::Internal } else { SessionEnd::NoRuntime };
        self.0.settle(Err(why));
    }
}

async fn take_over(
    connection: &DTLSConn,
    path: &Path,
    role: Role,
    expected: Expected,
    key_log: Option<KeyLog>,
) -> Result<Takeover, SessionEnd> {
    let state = connection.connection_state().await;
    let secrets = state.key_log_data().map_err(|_| SessionEnd::Protocol)?;
    let master_secret = Zeroizing::new(secrets.master_secret);
    let (client, server) = match role {
        Role::Client => (secrets.local_random, secrets.remote_random),
        Role::Server => (secrets.remote_random, secrets.local_random),
    };
    let identity = identity(path, expected, &state.peer_certificates, &state.identity_hint)?;
    if let Some(key_log) = key_log {
        key_log(&Zeroizing::new(format!("CLIENT_RANDOM {} {}", Hex(&client), Hex(&master_secret))));
    }
    Ok(Takeover {
        keys: KeyBlock::derive(&master_secret, &client, &server),
        identity,
        next: path.outgoing(|outgoing| outgoing.next_sealed()),
        last_flight: path.outgoing(|outgoing| outgoing.last_flight().to_vec()),
    })
}

/// Who the peer is: what our callbacks have accepted, if that is what the library has in the end. It has always been so; but
/// nothing is taken on trust here.
fn identity(
    path: &Path,
    expected: Expected,
    certificates: &[Vec<u8>],
    named: &[u8],
) -> Result<PeerIdentity, SessionEnd> {
    let (identity, chain) = path.witness(|witness| (witness.identity.take(), witness.chain.take()));
    match expected {
        Expected::Known(identity) => Ok(PeerIdentity::Psk(identity)),
        Expected::Psk => {
            identity.filter(|identity| identity == named).map(PeerIdentity::Psk).ok_or(SessionEnd::WrongKey)
        }
        // Certificates that nobody has asked for are not looked at.
        Expected::Nothing => Ok(PeerIdentity::Anonymous),
        Expected::Optional if certificates.is_empty() => Ok(PeerIdentity::Anonymous),
        Expected::Certificate | Expected::Optional => {
            let same = |chain: &Vec<CertificateDer<'static>>| {
                !chain.is_empty() && chain.iter().map(AsRef::as_ref).eq(certificates.iter().map(Vec::as_slice))
            };
            chain.filter(same).map(PeerIdentity::Certificate).ok_or(SessionEnd::NoCertificate)
        }
    }
}

/// Why the library has given up. What it says to the peer tells more than what it says to us.
fn end_of(error: &Error, path: &Path) -> SessionEnd {
    match (error, path.outgoing(|outgoing| outgoing.alert())) {
        (Error::ErrClientCertificateRequired, _) => SessionEnd::NoCertificate,
        // bad_record_mac, decrypt_error, unknown_psk_identity: Finished could not be opened.
        (_, Some(20 | 51 | 115)) => SessionEnd::WrongKey,
        (_, Some(42 | 43 | 46)) => SessionEnd::BadCertificate,
        _ => SessionEnd::Protocol,
    }
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
