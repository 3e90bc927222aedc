//! Reads a resource: `cargo run -p coap-tokio --example client -- coap://localhost/hello`

use coap_tokio::{Client, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let uri = std::env::args().nth(1).unwrap_or_else(|| "coap://localhost/hello".to_owned());
    let client = Client::bind("[::]:0").await?;
    let reply = client.get(uri).await?.error_for_status()?;
    println!("{} {}", reply.code, reply.text().unwrap_or("(not a text)"));
    Ok(())
}
