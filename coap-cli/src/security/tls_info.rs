//! `coap tls-info`: what the secure sessions of this build can do.

use coap_dtls::{Backend, Capability};
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
    json!({ "default": default, "libraries": libraries })
}

fn table() -> String {
    let backends = Backend::all();
    let width = Capability::all().iter().map(|what| what.to_string().chars().count()).max().unwrap_or_default();
    let mut text = format!("{:width$}", "");
    for backend in backends {
        text.push_str(&format!("  {backend}"));
    }
    text.push('\n');
    for what in Capability::all() {
        text.push_str(&format!("{:width$}", what.to_string()));
        for backend in backends {
            let column = backend.to_string().chars().count();
            let has = if backend.capabilities().has(*what) { "yes" } else { "-" };
            text.push_str(&format!("  {has:column$}"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
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
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }
}
