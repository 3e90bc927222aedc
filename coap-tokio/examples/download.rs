//! Fetches a file of any size, and goes on with it if it was interrupted before:
//! `cargo run -p coap-tokio --example download -- coap://localhost/large file`

use std::io;
use std::path::Path;

use coap_tokio::{Client, Error, Resume};
use tokio::fs::{self, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut args = std::env::args().skip(1);
    let uri = args.next().unwrap_or_else(|| "coap://localhost/large".to_owned());
    let path = args.next().unwrap_or_else(|| "large".to_owned());
    fetch(&uri, Path::new(&path)).await?;
    Ok(())
}

async fn fetch(uri: &str, path: &Path) -> Result<(), Error> {
    // What was kept of an interrupted run stands beside the file.
    let note = path.with_extension("resume");
    let kept = fs::read_to_string(&note).await.ok().and_then(|text| text.parse::<Resume>().ok());

    let mut request = Client::bind("[::]:0").await?.get(uri).on_progress(|progress| {
        eprint!("\r{} bytes", progress.received);
    });
    let there = fs::metadata(path).await.map_or(0, |file| file.len());
    if let Some(kept) = kept.filter(|kept| kept.offset() <= there) {
        request = request.resume(kept);
    }
    let mut download = request.download().await?.error_for_status()?;

    let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path).await?;
    // From the start, if the file on the server is another now.
    file.set_len(download.offset).await?;
    file.seek(io::SeekFrom::End(0)).await?;
    loop {
        match download.chunk().await {
            Ok(Some(part)) => file.write_all(&part).await?,
            Ok(None) => break,
            Err(error) => {
                file.flush().await?;
                if let Some(resume) = download.resume() {
                    fs::write(&note, resume.to_string()).await?;
                }
                return Err(error);
            }
        }
    }
    file.flush().await?;
    let _ = fs::remove_file(&note).await;
    eprintln!();
    Ok(())
}
