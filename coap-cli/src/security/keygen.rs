//! `coap keygen`: an authority and certificates for trying out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use coap_dtls::keygen::{Authority, KeygenError, Validity};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use crate::args::KeygenArgs;
use crate::exit::{Exit, Failure, reason};
use crate::say;

/// One file of those that are written.
struct Made {
    name: &'static str,
    content: String,
    is_secret: bool,
}

/// Makes an authority, a server and a client, and writes certificate and key of each. What is there already is left as it is.
pub(crate) fn run(args: &KeygenArgs) -> Result<Exit, Failure> {
    let folder = &args.folder;
    let made = make(args)?;
    std::fs::create_dir_all(folder).map_err(|error| cannot("make the folder", folder, &error))?;
    // All or nothing: half of a set is of no use, and an older key may still be in use.
    if let Some(there) = made.iter().map(|made| folder.join(made.name)).find(|path| path.exists()) {
        return Err(Failure::usage(format_args!(
            "{} is there already, and keys are not overwritten: choose another folder, or move it away",
            there.display()
        )));
    }
    for Made { name, content, is_secret } in &made {
        let path = folder.join(name);
        write(&path, content, *is_secret).map_err(|error| cannot("write", &path, &error))?;
    }
    if !args.quiet {
        let at = folder.display();
        say(format_args!("coap: wrote an authority, a server ({}) and a client to {at}", args.names.join(", ")));
        say(format_args!(
            "coap: coap serve --coaps 127.0.0.1:5684 --cert {at}/server.pem --key {at}/server.key --ca {at}/ca.pem"
        ));
        say(format_args!(
            "coap: coap get -c {at}/client.pem -j {at}/client.key -R {at}/ca.pem coaps://127.0.0.1/hello"
        ));
    }
    Ok(Exit::Success)
}

fn make(args: &KeygenArgs) -> Result<[Made; 6], Failure> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(Failure::local)?;
    let validity = Validity::days_from(SystemTime::now(), args.days);
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let refused = |what: &'static str| move |error: KeygenError| Failure::usage(format_args!("{what}: {error}"));
    let authority = Authority::new("coap keygen", validity, &mut rng).map_err(refused("the authority"))?;
    let server = authority.server(&names, validity, &mut rng).map_err(refused("the names of the server"))?;
    let client = authority.client(&args.client, validity, &mut rng).map_err(refused("the name of the client"))?;
    let public = |name, content| Made { name, content, is_secret: false };
    let secret = |name, content: &str| Made { name, content: content.to_owned(), is_secret: true };
    Ok([
        public("ca.pem", authority.certificate().map_err(refused("the authority"))?),
        secret("ca.key", &authority.key().map_err(refused("the authority"))?),
        public("server.pem", server.certificates),
        secret("server.key", &server.key),
        public("client.pem", client.certificates),
        secret("client.key", &client.key),
    ])
}

fn write(path: &Path, content: &str, is_secret: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if is_secret { 0o600 } else { 0o644 });
    #[cfg(not(unix))]
    let _ = is_secret;
    let mut file: File = options.open(path)?;
    file.write_all(content.as_bytes())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::local(format_args!("cannot {what} {}: {}", path.display(), reason(error)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coap_dtls::{CertifiedKey, certificates_from_file};

    use super::*;

    fn args(folder: PathBuf) -> KeygenArgs {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        KeygenArgs { folder, names, client: "client".to_owned(), days: 30, quiet: true }
    }

    #[test]
    fn a_set_is_written_once_and_can_be_read_again() {
        let folder = std::env::temp_dir().join(format!("coap-keygen-{}", std::process::id()));
        assert_eq!(run(&args(folder.clone())).unwrap(), Exit::Success);
        for owner in ["server", "client"] {
            let of = |end: &str| folder.join(format!("{owner}.{end}"));
            CertifiedKey::from_files(of("pem"), of("key"), None).unwrap();
        }
        assert_eq!(certificates_from_file(folder.join("ca.pem")).unwrap().len(), 1);
        let before = std::fs::read(folder.join("ca.key")).unwrap();
        let again = run(&args(folder.clone())).unwrap_err();
        assert!(again.exit == Exit::Usage && again.to_string().contains("not overwritten"), "{again}");
        assert_eq!(std::fs::read(folder.join("ca.key")).unwrap(), before);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let mut args = args(std::env::temp_dir());
        args.names = vec!["not a name".to_owned()];
        let failure = make(&args).map(|_| ()).unwrap_err();
        assert!(failure.to_string().starts_with("the names of the server: "), "{failure}");
    }
}
