//! Takes files of any size, block by block: `cargo run -p coap-async-std --example async-std-upload -- FOLDER`, and then
//! `coap put coap://localhost/files/name -f FILE`.

use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::path::PathBuf;

use async_std::fs::{self, File};
use async_std::io::WriteExt;
use coap_async_std::router::{BodyReader, Path, Router, State, put};
use coap_async_std::{Code, Error, Server};

/// Writes beside the place, so that nobody sees half a file, and a broken upload leaves the old one.
async fn store(
    State(folder): State<PathBuf>,
    Path(name): Path<String>,
    body: BodyReader,
) -> Result<String, (Code, String)> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err((Code::BAD_REQUEST, "not a name for a file".into()));
    }
    // Two may send one file at a time.
    static UPLOADS: AtomicU64 = AtomicU64::new(0);
    let number = UPLOADS.fetch_add(1, Ordering::Relaxed);
    let part = folder.join(format!(".{name}.{number}.part"));
    let written = async {
        let bytes = write(body, &part).await?;
        fs::rename(&part, folder.join(&name)).await?;
        io::Result::Ok(bytes)
    };
    match written.await {
        Ok(bytes) => Ok(format!("{bytes} bytes")),
        Err(error) => {
            let _ = fs::remove_file(&part).await;
            Err((Code::INTERNAL_SERVER_ERROR, error.to_string()))
        }
    }
}

async fn write(mut body: BodyReader, to: &std::path::Path) -> io::Result<u64> {
    let mut file = File::create(to).await?;
    let mut bytes = 0;
    while let Some(part) = body.chunk().await? {
        file.write_all(&part).await?;
        bytes += part.len() as u64;
    }
    file.sync_all().await?;
    Ok(bytes)
}

#[async_std::main]
async fn main() -> Result<(), Error> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let router = Router::new().route("/files/{name}", put(store)).with_state(folder);
    Server::bind("[::]:5683").await?.serve(router).await
}
