//! `coap tls-info`: what the secure sessions of this build can do.

use coap_dtls::{Backend, Capability, CipherSuite};
use serde_json::{Map, Value, json};

use super::By;
use crate::args::TlsInfoArgs;
use crate::client::print;
use crate::exit::{Exit, Failure};

/// Prints a table of what each library has.
pub(crate) fn run(args: &TlsInfoArgs) -> Result<Exit, Failure> {
    let text = if args.json { format!("{}\n", object()) } else { table() };
    print(text.as_bytes())?;
    Ok(Exit::Success)
}

fn object() -> Value {
    let of = |backend: &Backend| -> Map<String, Value> {
        let can = backend.capabilities();
        Capability::all().iter().map(|what| (what.to_string(), json!(can.has(*what)))).collect()
    };
    let libraries: Map<String, Value> =
        Backend::all().iter().map(|backend| (backend.to_string(), Value::Object(of(backend)))).collect();
    let first = |libraries: Vec<Backend>| libraries.first().map(ToString::to_string);
    let by = |libraries: fn(By) -> Vec<Backend>| json!({ "psk": first(libraries(By::Key)), "certificates": first(libraries(By::Certificate)) });
    let default = json!({ "client": by(By::client_libraries), "server": by(By::server_libraries) });
    let names = |suites: &[CipherSuite]| -> Vec<_> { suites.iter().map(|suite| suite.name()).collect() };
    let of = |it: &Backend| json!({ "all": names(it.cipher_suites()), "default": names(it.default_cipher_suites()) });
    let suites: Map<String, Value> = Backend::all().iter().map(|it| (it.to_string(), of(it))).collect();
    json!({ "default": default, "libraries": libraries, "suites": suites })
}

fn table() -> String {
    let backends = Backend::all();
    let mut text = String::new();
    let names = Capability::all().iter().map(ToString::to_string);
    let width = names.map(|name| name.chars().count()).max().unwrap_or_default();
    let mut line = |name: &str, cell: &dyn Fn(Backend) -> String| {
        text.push_str(&format!("{name:width$}"));
        for backend in backends {
            let column = backend.to_string().chars().count();
            text.push_str(&format!("  {:column$}", cell(*backend)));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    line("", &|backend| backend.to_string());
    for what in Capability::all() {
        line(&what.to_string(), &|backend| (if backend.capabilities().has(*what) { "yes" } else { "-" }).to_owned());
    }
    line("", &|_| String::new());
    line("Cipher suites, for --suite NAME:", &|_| String::new());
    for suite in CipherSuite::all() {
        line(suite.name(), &|backend| {
            let (all, default) = (backend.cipher_suites(), backend.default_cipher_suites());
            match (all.contains(suite), default.contains(suite)) {
                (true, true) => "default",
                (true, false) => "yes",
                (false, _) => "-",
            }
            .to_owned()
        });
    }
    text.push('\n');
    let rows = [
        ("of a client", By::Key.client_libraries()),
        ("of a server with pre-shared keys", By::Key.server_libraries()),
        ("of a server with certificates", By::Certificate.server_libraries()),
    ];
    for (whose, libraries) in rows {
        let names: Vec<_> = libraries.iter().map(ToString::to_string).collect();
        text.push_str(&format!("Without --dtls LIBRARY, sessions {whose} are by {}.\n", names.join(", or else ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_a_column_and_every_capability_a_line() {
        let text = table();
        for backend in Backend::all() {
            assert!(text.lines().next().unwrap().contains(&backend.to_string()));
        }
        for what in Capability::all() {
            assert!(text.contains(&format!("{what} ")), "{what}");
        }
        for suite in CipherSuite::all() {
            assert!(text.lines().any(|line| line.starts_with(&format!("{suite} "))), "{suite}");
        }
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }
}
