//! What secures `coaps://`, of a client and of a server.

use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use coap_core::Scheme;
use coap_driver::BindAddr;
use coap_dtls::{Backend, CipherSuite};

/// How a client secures what it sends to `coaps://`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Security of coaps://")]
pub(crate) struct SecurityArgs {
    /// The identity of a pre-shared key. Without it, what COAP_PSK_IDENTITY says.
    #[arg(short = 'u', long = "psk-identity", visible_alias = "user", value_name = "IDENTITY")]
    pub(crate) identity: Option<String>,
    /// The pre-shared key: this text, bytes in hexadecimal after 0x, or the content of @FILE. Without it, what COAP_PSK_KEY says,
    /// which nobody sees in a list of processes.
    #[arg(short = 'k', long = "psk-key", value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) psk: Option<String>,
    /// Our certificate, and those between it and an authority: PEM or DER.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key: PEM or DER. If it is encrypted, COAP_KEY_PASSPHRASE opens it. Without this it is in the file of --cert.
    #[arg(short = 'j', long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The authorities that the server's certificate may be of: PEM or DER.
    #[arg(short = 'C', long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// More of them.
    #[arg(short = 'R', long, value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// Take any certificate of the server: whoever is on the way can read and change everything.
    #[arg(short = 'n', long, conflicts_with_all = ["ca", "roots"])]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// What does the handshakes, and what is told about them.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LibraryArgs {
    /// The library for DTLS: see `coap tls-info`. Without it, the first one that can do what is asked.
    #[arg(long, value_name = "LIBRARY", value_parser = library)]
    pub(crate) dtls: Option<Backend>,
    /// Agree on this cipher suite alone, or on one of these, the first rather: see `coap tls-info`. One of DTLS 1.3 has that spoken
    /// too, with certificates. Repeatable.
    #[arg(long = "suite", value_name = "NAME", value_parser = suite)]
    pub(crate) suites: Vec<CipherSuite>,
    /// Append the secrets of all sessions to this file, so that Wireshark can read a capture (NSS key log format).
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,
}

impl LibraryArgs {
    /// True if something is said of sessions that there are.
    fn is_given(&self) -> bool {
        self.keylog.is_some() || !self.suites.is_empty()
    }
}

/// How a server secures what comes to its secure listeners.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Security of coaps://")]
pub(crate) struct ServeSecurityArgs {
    /// Listen for coaps:// here, at port 5684 if there is none. After a comma, credentials of its own instead of those below:
    /// psk=IDENTITY:KEY, psk-file=FILE, hint=TEXT, cert=FILE, key=FILE, ca=FILE, require-client-cert. Repeatable.
    #[arg(long, value_name = "ADDR[:PORT][,psk=ID:KEY|,cert=FILE,key=FILE,ca=FILE]", value_parser = listener)]
    pub(crate) coaps: Vec<Listener>,
    /// A pre-shared key and its identity; the key as for `coap get -k`. Repeatable.
    #[arg(long, value_name = "IDENTITY:KEY")]
    pub(crate) psk: Vec<String>,
    /// The same from a file: one IDENTITY:KEY on each line.
    #[arg(long, value_name = "FILE")]
    pub(crate) psk_file: Option<PathBuf>,
    /// What clients are told that they may choose their identity by.
    #[arg(long, value_name = "TEXT")]
    pub(crate) psk_hint: Option<String>,
    /// The certificate of the server, and those between it and an authority: PEM or DER.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key: PEM or DER. If it is encrypted, COAP_KEY_PASSPHRASE opens it. Without this it is in the file of --cert.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Ask clients for a certificate of one of these authorities.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Refuse clients that show none.
    #[arg(long)]
    pub(crate) require_client_cert: bool,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// `--coaps`: where to listen, and with which credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) addr: BindAddr,
    pub(crate) own: Credentials,
}

/// The credentials of a listener, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) psk: Vec<String>,
    pub(crate) psk_file: Option<PathBuf>,
    pub(crate) hint: Option<String>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) require_client_cert: bool,
}

impl SecurityArgs {
    /// True if there is one on the command line.
    pub(crate) fn names_credentials(&self) -> bool {
        let Self { identity, psk, cert, key, ca, roots, insecure, .. } = self;
        let files = [cert, key, ca, roots];
        identity.is_some() || psk.is_some() || files.into_iter().any(Option::is_some) || *insecure
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.key.is_some() && self.cert.is_none() {
            return Err("-j is the key of a certificate, and there is none: add -c FILE");
        }
        Ok(())
    }
}

impl ServeSecurityArgs {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let shared = self.shared();
        if self.coaps.is_empty() && (shared != Credentials::default() || self.library.is_given()) {
            return Err("keys and certificates are for secure listeners, and there is none: add --coaps ADDR:PORT");
        }
        if shared.key.is_some() && shared.cert.is_none() {
            return Err("--key is the key of a certificate, and there is none: add --cert FILE");
        }
        Ok(())
    }

    /// What those listeners have that bring nothing of their own.
    pub(crate) fn shared(&self) -> Credentials {
        Credentials {
            psk: self.psk.clone(),
            psk_file: self.psk_file.clone(),
            hint: self.psk_hint.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            ca: self.ca.clone(),
            require_client_cert: self.require_client_cert,
        }
    }
}

fn library(text: &str) -> Result<Backend, String> {
    let all = Backend::all();
    let names = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    all.iter().copied().find(|backend| backend.to_string() == text).ok_or_else(|| format!("not {}", names()))
}

fn suite(text: &str) -> Result<CipherSuite, String> {
    text.parse().map_err(|_| "none of those that coap tls-info lists".to_owned())
}

fn listener(text: &str) -> Result<Listener, String> {
    let mut parts = text.split(',');
    let addr = parts.next().unwrap_or_default();
    let bare = addr.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let addr = if let Ok(addr) = addr.parse::<SocketAddr>() {
        addr.into()
    } else if let Ok(ip) = bare {
        (ip, Scheme::Coaps.default_port()).into()
    } else if addr.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok()) {
        addr.into()
    } else {
        return Err("not ADDR:PORT, such as [::]:5684, 127.0.0.1:0 or localhost:5684".to_owned());
    };
    let mut own = Credentials::default();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let file = || Some(PathBuf::from(value));
        match (name, value.is_empty()) {
            ("require-client-cert", true) => own.require_client_cert = true,
            ("psk", false) => own.psk.push(value.to_owned()),
            ("psk-file", false) => own.psk_file = file(),
            ("hint", false) => own.hint = Some(value.to_owned()),
            ("cert", false) => own.cert = file(),
            ("key", false) => own.key = file(),
            ("ca", false) => own.ca = file(),
            ("psk" | "psk-file" | "hint" | "cert" | "key" | "ca", true) => return Err(format!("{name} has no value")),
            _ => {
                return Err(format!(
                    "'{name}' is none of psk, psk-file, hint, cert, key, ca, require-client-cert (write a key with a comma in 0xHEX)"
                ));
            }
        }
    }
    Ok(Listener { addr, own })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_can_bring_its_own_credentials() {
        let at = |text: &str| listener(text).unwrap();
        assert_eq!(at("127.0.0.1"), Listener { addr: BindAddr::from("127.0.0.1:5684"), own: Credentials::default() });
        assert_eq!(at("[::1]").addr, BindAddr::from("[::1]:5684"));
        assert_eq!(at("localhost:0").addr, BindAddr::from("localhost:0"));
        let two = at("[::]:7,psk=a:b,psk=c:0x64").own;
        assert_eq!(two.psk, ["a:b", "c:0x64"]);
        let certificate = at("[::]:7,cert=c.pem,key=k.pem,ca=a.pem,require-client-cert").own;
        assert_eq!(certificate.ca, Some(PathBuf::from("a.pem")));
        assert!(certificate.require_client_cert);
    }

    #[test]
    fn a_listener_that_makes_no_sense_is_refused_by_its_part() {
        for (text, part) in [
            ("nowhere", "not ADDR:PORT"),
            ("[::]:7,psk", "psk has no value"),
            ("[::]:7,psk=a:b,c", "'c' is none of"),
            ("[::]:7,require-client-cert=yes", "'require-client-cert' is none of"),
        ] {
            let error = listener(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
