//! From flags and files to the configurations of secure sessions.

mod advice;
mod keygen;
mod text;
mod tls_info;

use core::error::Error as _;
use core::time::Duration;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use coap_core::{Scheme, Uri};
use coap_dtls::{
    Backend, Capability, CertConfig, CertifiedKey, CipherSuite, ClientAuth, ClientEnd, ClientPsk, ClientSecurity,
    ConfigError, DangerousAcceptAny, FileError, PskTable, SecurityBuilder, SecurityConfig, SecurityMode, ServerEnd,
    ServerSecurity, SuiteUse, Versions, WebPkiVerifier, certificates_from_file,
};

pub(crate) use self::advice::failure;
pub(crate) use self::keygen::run as keygen;
pub(crate) use self::tls_info::run as tls_info;
use crate::args::{Credentials, LibraryArgs, SecurityArgs};
use crate::exit::{Exit, Failure, reason};
use crate::say;

/// What the plugtests agreed on (TD_COAP_DTLS_01): the credentials of `--plugtest` without others.
pub(crate) const PLUGTEST_PSK: &str = "password:sesame";

/// What secures requests to `uri`, which may take so long; `None`: it says that nothing should.
///
/// # Errors
/// It is a `coaps` URI, and there is nothing to secure it with; or it is another, and the flags say that it should be secure.
pub(crate) fn for_uri(
    args: &SecurityArgs,
    uri: &Uri,
    quiet: bool,
    timeout: Option<Duration>,
) -> Result<Option<ClientSecurity>, Failure> {
    if uri.scheme() == Scheme::Coaps {
        return client(args, quiet, timeout).map(Some);
    }
    // Who names a key does not want to be read by others.
    if args.names_credentials() {
        return Err(Failure::usage(format_args!(
            "keys and certificates are for coaps://, and {}:// is sent in the clear: write coaps://{} for a secure session",
            uri.scheme(),
            uri.host(),
        )));
    }
    Ok(None)
}

/// What secures a `coaps` URI, by the flags and the environment.
///
/// # Errors
/// There is nothing, or what there is cannot be used.
fn client(args: &SecurityArgs, quiet: bool, timeout: Option<Duration>) -> Result<ClientSecurity, Failure> {
    let mode = mode(args, |name| std::env::var(name).ok())?;
    if args.insecure && !quiet {
        say("coap: WARNING: --insecure takes any certificate: whoever is on the way can read and change everything");
    }
    let log = args.library.keylog.as_deref();
    let by = if matches!(mode, SecurityMode::Certificate(_)) { By::Certificate } else { By::Key };
    build(&args.library, by.client_libraries(), |backend| {
        let (initial, deadline) = handshake_timer(timeout);
        let builder = SecurityConfig::client(mode.clone()).backend(backend).handshake_timer(initial, deadline);
        key_log(with_suites(builder, &args.library.suites, by), log).map(SecurityBuilder::<ClientEnd>::build)
    })
}

/// When a flight of a handshake is sent again, and when the handshake is given up.
///
/// A server that does not like a key says nothing (RFC 4279 §2), and somebody waits in front of a terminal: with flights after
/// 0, 1, 3 and 7 seconds (RFC 6347 §4.2.4.1), nobody is to wait for longer than 15 s. Who is ready to wait for `timeout` says so,
/// and should hear of the handshake before that is over.
fn handshake_timer(timeout: Option<Duration>) -> (Duration, Duration) {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(600);
    let deadline = timeout.map_or(Duration::from_secs(15), |timeout| (timeout / 10 * 9).clamp(SHORTEST, LONGEST));
    (deadline.min(Duration::from_secs(1)), deadline)
}

fn mode(args: &SecurityArgs, environment: impl Fn(&str) -> Option<String>) -> Result<SecurityMode, Failure> {
    let by_certificate = By::of(args) == By::Certificate;
    let given = (args.identity.clone(), args.psk.clone());
    let psk = match given {
        (None, None) if by_certificate => None,
        (identity, key) => {
            match (identity.or_else(|| environment("COAP_PSK_IDENTITY")), key.or_else(|| environment("COAP_PSK_KEY"))) {
                (Some(identity), Some(key)) => Some((identity, key)),
                (Some(_), None) => {
                    return Err(Failure::usage(
                        "-u names an identity, and there is no key: add -k KEY or set COAP_PSK_KEY",
                    ));
                }
                (None, Some(_)) => {
                    return Err(Failure::usage(
                        "-k is a key, and there is no identity: add -u IDENTITY or set COAP_PSK_IDENTITY",
                    ));
                }
                (None, None) => None,
            }
        }
    };
    if let Some((identity, key)) = psk {
        if by_certificate {
            return Err(Failure::usage(
                "a session is secured by a key (-u -k) or by certificates (-c -j -C -R -n), not by both",
            ));
        }
        let psk = ClientPsk::new(identity, text::key(&key)?);
        return Ok(psk.map_err(|error| Failure::usage(format_args!("-u -k: {error}")))?.into());
    }
    if !by_certificate {
        return Err(Failure::new(
            Exit::Security,
            "coaps:// needs a key (-u IDENTITY -k KEY) or authorities to trust (-R FILE); nothing was sent, and never is in the clear",
        ));
    }
    let mut config = if args.insecure {
        CertConfig::new(DangerousAcceptAny)
    } else if args.ca.is_none() && args.roots.is_none() {
        return Err(Failure::usage(
            "-c shows our certificate, and nothing says which servers to trust: add -R FILE with their authority",
        ));
    } else {
        CertConfig::new(authorities(&[args.ca.as_deref(), args.roots.as_deref()])?)
    };
    if let Some(own) = own(args.cert.as_deref(), args.key.as_deref(), environment("COAP_KEY_PASSPHRASE"))? {
        config = config.own(own);
    }
    Ok(config.into())
}

/// What secures a listener.
///
/// # Errors
/// There is nothing, or what there is cannot be used.
pub(crate) fn server(credentials: &Credentials, library: &LibraryArgs) -> Result<ServerSecurity, Failure> {
    let passphrase = std::env::var("COAP_KEY_PASSPHRASE").ok();
    let own = own(credentials.cert.as_deref(), credentials.key.as_deref(), passphrase)?;
    let keys = keys(credentials)?;
    if own.is_none() && (credentials.key.is_some() || credentials.ca.is_some() || credentials.require_client_cert) {
        return Err(Failure::usage(
            "key, ca and require-client-cert go with a certificate of the server (cert), and there is none",
        ));
    }
    if credentials.require_client_cert && credentials.ca.is_none() {
        return Err(Failure::usage("require-client-cert needs the authorities that clients' certificates are of (ca)"));
    }
    if own.is_none() && keys.is_none() {
        return Err(Failure::usage(
            "--coaps needs credentials: --psk IDENTITY:KEY, --psk-file FILE, or --cert FILE --key FILE",
        ));
    }
    let clients = credentials.ca.as_deref().map(|ca| authorities(&[Some(ca)])).transpose()?;
    let log = library.keylog.as_deref();
    let by = if own.is_some() { By::Certificate } else { By::Key };
    build(library, by.server_libraries(), |backend| {
        let mut builder = SecurityConfig::server().backend(backend);
        if let Some(keys) = &keys {
            builder = builder.psk(keys.clone());
        }
        if let Some(hint) = &credentials.hint {
            builder = builder.psk_hint(hint.as_bytes());
        }
        if let Some(own) = &own {
            builder = builder.certificate(own.clone());
        }
        if let Some(clients) = &clients {
            let auth = if credentials.require_client_cert { ClientAuth::Required } else { ClientAuth::Optional };
            builder = builder.client_auth(auth).verifier(clients.clone());
        }
        key_log(with_suites(builder, &library.suites, by), log).map(SecurityBuilder::<ServerEnd>::build)
    })
}

/// How an end shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Key,
    Certificate,
}

impl By {
    /// How a client shows it, which has credentials.
    fn of(args: &SecurityArgs) -> Self {
        let files = [&args.cert, &args.ca, &args.roots];
        if files.into_iter().any(Option::is_some) || args.insecure { Self::Certificate } else { Self::Key }
    }

    /// The libraries for a client, the best first: the one with both suites, whose hello all servers take (tinydtls refuses
    /// that of dimpl).
    fn client_libraries(self) -> Vec<Backend> {
        sorted(Capability::EcdsaCcm8)
    }

    /// The libraries for a server, the best first. With keys it is the one that keeps nothing before a cookie has come back,
    /// with certificates the one that has both suites and intermediates.
    fn server_libraries(self) -> Vec<Backend> {
        sorted(match self {
            Self::Key => Capability::StatelessCookie,
            Self::Certificate => Capability::EcdsaCcm8,
        })
    }
}

/// First those that have this.
fn sorted(by: Capability) -> Vec<Backend> {
    let mut libraries = Backend::all().to_vec();
    libraries.sort_by_key(|library| !library.capabilities().has(by));
    libraries
}

/// With the library that was asked for, or else with the first of these that can do it.
fn build<T>(
    library: &LibraryArgs,
    libraries: Vec<Backend>,
    make: impl Fn(Backend) -> Result<Result<T, ConfigError>, Failure>,
) -> Result<T, Failure> {
    let candidates = match library.dtls {
        Some(backend) => vec![backend],
        None => libraries,
    };
    let mut first = None;
    for backend in candidates {
        // Before the file is made.
        let built = if library.keylog.is_some() && !backend.capabilities().has(Capability::KeyLog) {
            Err(ConfigError::Unsupported { what: Capability::KeyLog, backend })
        } else {
            make(backend)?
        };
        match built {
            Ok(built) => return Ok(built),
            // Nobody else does better.
            Err(error) if !is_of_library(&error) => return Err(Failure::usage(error)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(cannot_build(&first.unwrap_or(ConfigError::NoBackend)))
}

/// Another library may do better.
fn is_of_library(error: &ConfigError) -> bool {
    matches!(error, ConfigError::Unsupported { .. } | ConfigError::UnsupportedSuite { .. })
}

/// With the suites that were asked for, if any were, and the version that they are of.
fn with_suites<E>(builder: SecurityBuilder<E>, suites: &[CipherSuite], by: By) -> SecurityBuilder<E> {
    if suites.is_empty() {
        return builder;
    }
    let wants_13 = by == By::Certificate && suites.iter().any(|suite| suite.used_for() == SuiteUse::Dtls13);
    builder.suites(suites).versions(if wants_13 { Versions::V12AndV13 } else { Versions::V12 })
}

/// No library that may be used can do what is asked.
fn cannot_build(error: &ConfigError) -> Failure {
    let (what, backend): (&dyn core::fmt::Display, _) = match error {
        ConfigError::Unsupported { what, backend } => (what, backend),
        ConfigError::UnsupportedSuite { suite, backend } => (suite, backend),
        _ => return Failure::usage(error),
    };
    let has = |other: &&Backend| match error {
        ConfigError::Unsupported { what, .. } => other.capabilities().has(*what),
        ConfigError::UnsupportedSuite { suite, .. } => other.cipher_suites().contains(suite),
        _ => false,
    };
    let other = Backend::all().iter().find(has);
    let advice = other.map_or_else(
        || "see coap tls-info".to_owned(),
        |other| format!("use --dtls {other}, or see coap tls-info for what it lacks"),
    );
    Failure::usage(format_args!("{backend} does not have {what}: {advice}"))
}

/// A file of certificates or keys cannot be read, or is none.
fn bad_file(error: &FileError) -> Failure {
    match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => Failure::usage(format_args!("cannot read {}: {}", error.path().display(), reason(cause))),
        None => Failure::usage(error),
    }
}

fn authorities(files: &[Option<&Path>]) -> Result<WebPkiVerifier, Failure> {
    let mut roots = Vec::new();
    for file in files.iter().copied().flatten() {
        roots.extend(certificates_from_file(file).map_err(|error| bad_file(&error))?);
    }
    WebPkiVerifier::new(roots).map_err(|error| Failure::usage(format_args!("the authorities to trust: {error}")))
}

fn own(cert: Option<&Path>, key: Option<&Path>, passphrase: Option<String>) -> Result<Option<CertifiedKey>, Failure> {
    let Some(cert) = cert else { return Ok(None) };
    let own = CertifiedKey::from_files(cert, key.unwrap_or(cert), passphrase.as_deref());
    own.map(Some).map_err(|error| match error.credential() {
        Some(coap_dtls::CredentialError::NoPassphrase) => {
            Failure::usage(format_args!("{error} in the environment, as COAP_KEY_PASSPHRASE"))
        }
        _ => bad_file(&error),
    })
}

/// The keys of clients; `None`: there are none.
fn keys(credentials: &Credentials) -> Result<Option<PskTable>, Failure> {
    let mut table = PskTable::new();
    let mut add = |pair: &str, at: &dyn core::fmt::Display| {
        let (identity, key) =
            pair.split_once(':').ok_or_else(|| Failure::usage(format_args!("{at} is not IDENTITY:KEY")))?;
        let key =
            coap_dtls::PskKey::new(text::key(key)?).map_err(|error| Failure::usage(format_args!("{at}: {error}")))?;
        match table.insert(identity, key) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Failure::usage(format_args!("{at}: the identity '{identity}' has two keys"))),
            Err(error) => Err(Failure::usage(format_args!("{at}: {error}"))),
        }
    };
    for (index, pair) in credentials.psk.iter().enumerate() {
        // Not what it says: that is secret.
        add(pair, &format_args!("the pre-shared key number {}", index + 1))?;
    }
    if let Some(file) = &credentials.psk_file {
        for (index, line) in text::lines(file)?.iter().enumerate() {
            let line = line.trim_end_matches('\r');
            if !line.is_empty() && !line.starts_with('#') {
                add(line, &format_args!("line {} of {}", index + 1, file.display()))?;
            }
        }
    }
    Ok(Some(table).filter(|table| !table.is_empty()))
}

fn key_log<E>(builder: SecurityBuilder<E>, file: Option<&Path>) -> Result<SecurityBuilder<E>, Failure> {
    let Some(path) = file else { return Ok(builder) };
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    // Whoever reads it reads the sessions.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| cannot_open(path, &error))?;
    let file = Mutex::new(file);
    Ok(builder.key_log(move |line| {
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = writeln!(file, "{}", line.trim_end());
    }))
}

fn cannot_open(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format_args!("cannot open {}: {}", path.display(), reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn psk(identity: &str, key: &str) -> SecurityArgs {
        SecurityArgs {
            identity: (!identity.is_empty()).then(|| identity.to_owned()),
            psk: (!key.is_empty()).then(|| key.to_owned()),
            ..SecurityArgs::default()
        }
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_key_comes_from_the_flags_or_the_environment() {
        let environment = |name: &str| Some(if name == "COAP_PSK_KEY" { "secret" } else { "someone" }.to_owned());
        for (args, environment) in [
            (psk("a", "b"), &nothing as &dyn Fn(&str) -> Option<String>),
            (psk("a", ""), &environment),
            (psk("", ""), &environment),
        ] {
            assert!(matches!(mode(&args, environment), Ok(SecurityMode::PreSharedKey(_))));
        }
        // Who says certificates means them.
        let insecure = SecurityArgs { insecure: true, ..SecurityArgs::default() };
        assert!(matches!(mode(&insecure, environment), Ok(SecurityMode::Certificate(_))));
    }

    #[test]
    fn a_handshake_ends_before_the_request_does() {
        let secs = Duration::from_secs;
        assert_eq!(handshake_timer(None), (secs(1), secs(15)));
        assert_eq!(handshake_timer(Some(secs(100))), (secs(1), secs(90)));
        assert_eq!(handshake_timer(Some(secs(1))), (Duration::from_millis(900), Duration::from_millis(900)));
        for timeout in [Duration::from_nanos(1), secs(u64::MAX)] {
            let (initial, deadline) = handshake_timer(Some(timeout));
            let client = SecurityConfig::client(ClientPsk::new("a", "b").unwrap());
            assert!(client.handshake_timer(initial, deadline).build().is_ok(), "{timeout:?}");
        }
    }

    #[test]
    fn a_server_with_keys_has_the_library_that_keeps_nothing_and_all_others_the_one_with_both_suites() {
        assert_eq!(By::Key.server_libraries(), [Backend::Dimpl, Backend::WebrtcDtls]);
        assert_eq!(By::Certificate.server_libraries(), [Backend::WebrtcDtls, Backend::Dimpl]);
        for by in [By::Key, By::Certificate] {
            assert_eq!(by.client_libraries(), [Backend::WebrtcDtls, Backend::Dimpl]);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let both = SecurityArgs { insecure: true, ..psk("a", "b") };
        let shown = SecurityArgs { cert: Some("c.pem".into()), ..SecurityArgs::default() };
        for (args, exit, part) in [
            (psk("", ""), Exit::Security, "-u IDENTITY -k KEY"),
            (psk("a", ""), Exit::Usage, "-k KEY"),
            (psk("", "b"), Exit::Usage, "-u IDENTITY"),
            (both, Exit::Usage, "not by both"),
            (shown, Exit::Usage, "-R FILE"),
            (psk("a", "0x1"), Exit::Usage, "hexadecimal"),
            (psk("a", "0x"), Exit::Usage, "1 to"),
        ] {
            let failure = mode(&args, nothing).unwrap_err();
            assert_eq!(failure.exit, exit);
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn a_server_has_no_identity_twice_and_says_no_key() {
        let refused = |pairs: &[&str]| {
            let credentials =
                Credentials { psk: pairs.iter().copied().map(str::to_owned).collect(), ..Credentials::default() };
            keys(&credentials).unwrap_err().to_string()
        };
        assert!(refused(&["a:b", "a:c"]).contains("'a' has two keys"));
        let text = refused(&["secretsesame"]);
        assert!(text.contains("number 1 is not IDENTITY:KEY") && !text.contains("sesame"), "{text}");
        assert!(keys(&Credentials::default()).unwrap().is_none());
    }
}
