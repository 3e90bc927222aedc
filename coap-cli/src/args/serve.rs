//! `coap serve`.

use core::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use coap_core::{Scheme, UnprovenLimit};
use coap_driver::BindAddr;

use super::shared::{NoiseArgs, whole};
use crate::exit::Failure;
use crate::serve::Extra;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen here; without it at all addresses. An address without a port has that of --port. Repeatable.
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "[::]", value_parser = bind)]
    bind: Vec<BindArg>,
    /// The port to listen at where --bind names none (5683). Port 0 takes a free one and prints it.
    #[arg(short = 'p', long, value_name = "PORT", value_parser = whole(0, u16::MAX), allow_negative_numbers = true)]
    port: Option<u16>,
    /// Join this group, and answer what is asked there: 224.0.1.187, ff02::fd or another, with the interface after a %. Repeatable.
    #[arg(long, value_name = "GROUP[%IF]", value_parser = join)]
    pub(crate) join: Vec<JoinArg>,
    /// Serve this folder under /files/. Hidden files (.name) are left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Let peers create, replace and delete files in that folder.
    #[arg(long)]
    pub(crate) write: bool,
    /// Serve the resources of the ETSI plugtests instead, for the test suites of others.
    #[arg(long, conflicts_with = "files")]
    pub(crate) plugtest: bool,
    /// Serve this as well, without listing it: create2, create3, link4 or secure. Repeatable.
    #[arg(long = "with", value_name = "NAME", value_delimiter = ',', value_parser = Extra::parse)]
    pub(crate) extras: Vec<Extra>,
    /// Whose answers are held small until they have shown that they are where they say (RFC 9175): all, groups, or off. With
    /// all, whoever knows no Echo option gets long content in blocks of 64 bytes.
    #[arg(long, value_name = "WHOSE", default_value = "groups", value_parser = unproven_limit)]
    pub(crate) limit_unproven: UnprovenLimit,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

/// `--limit-unproven`.
fn unproven_limit(text: &str) -> Result<UnprovenLimit, String> {
    match text {
        "all" => Ok(UnprovenLimit::All),
        "groups" => Ok(UnprovenLimit::Groups),
        "off" => Ok(UnprovenLimit::Off),
        _ => Err("it is one of all, groups and off".to_owned()),
    }
}

impl ServeArgs {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.write && self.files.is_none() {
            return Err("--write needs --files: there is no folder to write in");
        }
        if !self.extras.is_empty() && !self.plugtest {
            return Err("--with needs --plugtest: it names resources of the plugtests");
        }
        Ok(())
    }

    /// Where to listen.
    ///
    /// # Errors
    /// There is a port for everything, and `--port` besides.
    pub(crate) fn bind(&self) -> Result<Vec<BindAddr>, Failure> {
        let is_whole = |arg: &BindArg| matches!(arg, BindArg::Whole(_));
        if let Some(port) = self.port
            && self.bind.iter().all(is_whole)
        {
            return Err(Failure::usage(format_args!("--port {port} is for nothing: --bind names ports already")));
        }
        let port = self.port.unwrap_or_else(|| Scheme::Coap.default_port());
        Ok(self.bind.iter().map(|arg| arg.at(port)).collect())
    }
}

/// `--bind`: with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindArg {
    Whole(BindAddr),
    Address(IpAddr),
}

impl BindArg {
    fn at(&self, port: u16) -> BindAddr {
        match self {
            Self::Whole(addr) => addr.clone(),
            Self::Address(ip) => (*ip, port).into(),
        }
    }
}

/// `--join`: a group, and the interface that it is joined on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinArg {
    pub(crate) group: IpAddr,
    pub(crate) interface: Option<String>,
}

/// The address in `[address]`, or the text as it is.
fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

fn bind(text: &str) -> Result<BindArg, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        Ok(BindArg::Whole(addr.into()))
    } else if let Ok(ip) = without_brackets(text).parse::<IpAddr>() {
        Ok(BindArg::Address(ip))
    } else if text
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && !name.contains([':', '[', ']']) && port.parse::<u16>().is_ok())
    {
        Ok(BindArg::Whole(text.into()))
    } else {
        Err("not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683".to_owned())
    }
}

fn join(text: &str) -> Result<JoinArg, String> {
    let inner = without_brackets(text);
    let (group, interface) = match inner.split_once('%') {
        // As in a URI (RFC 6874 §2).
        Some((group, zone)) => (group, Some(zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone))),
        None => (inner, None),
    };
    match group.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() && interface != Some("") => {
            Ok(JoinArg { group, interface: interface.map(str::to_owned) })
        }
        _ => Err("not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;

    fn args(line: &str) -> ServeArgs {
        match parse(line.split(' ').map(Into::into)).unwrap().command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_alone_is_bound_at_the_default_port() {
        let at = |line: &str| args(line).bind().unwrap();
        assert_eq!(at("coap serve"), [BindAddr::from("[::]:5683")]);
        assert_eq!(at("coap serve --port 0"), [BindAddr::from("[::]:0")]);
        assert_eq!(at("coap serve --bind ::1"), [BindAddr::from("[::1]:5683")]);
        let two = at("coap serve --bind [::1] --bind 127.0.0.1:0 -p 7");
        assert_eq!(two, [BindAddr::from("[::1]:7"), BindAddr::from("127.0.0.1:0")]);
        let twice = args("coap serve --bind [::1]:1 --port 7").bind();
        assert!(twice.unwrap_err().to_string().contains("--port 7"));
        assert!(bind("localhost:5683").is_ok() && bind(":5683").is_err() && bind("host").is_err());
    }
}
